"""Taking a snapshot of Parquet files. Types come from the files, so all is read once.

A file in a store is copied to the worker's disk first, by one unit, which writes all of its shards;
of a local file, each unit writes one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from zenml.core import Files, StepContext
from zenml.core.errors import DataError
from zenml.datasources._columns import MisfitError, table_of, types_of
from zenml.datasources._snapshot import (
    check_known,
    check_names,
    put_together,
    quoted,
    raise_first_problem,
    shard_rows,
    write_shard,
)
from zenml.datasources._source_bytes import damaged
from zenml.datasources._source_files import SourceFile, find_files, stamp
from zenml.datasources._types import NOTHING, join, settle

if TYPE_CHECKING:
    from zenml.datasources.parquet import ParquetDatasource

__all__ = ["describe", "read_shards", "take_snapshot"]


class _Layout(NamedTuple):
    """One file: its rows, and what the values of its columns need."""

    file: SourceFile
    rows: int
    types: dict[str, str]


def take_snapshot(source: ParquetDatasource, context: StepContext) -> dict[str, Any]:
    """See ``ParquetDatasource.run``."""
    files = find_files(source.path, source.suffixes)
    stamps = {file: stamp(file) for file in files}
    columns = None if source.columns is None else list(source.columns)
    described = context.map(describe, [{"file": list(file), "columns": columns} for file in files])
    raise_first_problem(described, stamps)
    layouts = [
        _Layout(file, found["rows"], dict(found["types"]))
        for file, found in zip(files, described, strict=True)
    ]
    names = list(layouts[0].types)
    given = source.schema or {}
    check_known(given, names, files[0].name, "the schema")
    schema = {name: given.get(name) or kind for name, kind in _common(layouts, given).items()}
    if not any(layout.rows for layout in layouts):
        raise DataError(
            "there are columns, and no rows",
            where=", ".join(file.name for file in files[:3]),
            remedy="write rows, or name another file",
        )
    rows = shard_rows(source.rows_per_shard, len(names))
    results = context.map(read_shards, list(_payloads(layouts, schema, rows)))
    raise_first_problem(results, stamps)
    return put_together(schema, [shard for found in results for shard in found["shards"]], context)


def _common(layouts: Sequence[_Layout], given: Mapping[str, str]) -> dict[str, str]:
    """The types that fit all files. Integers and floats are floats; all else must be the same."""
    first = layouts[0]
    types = dict(first.types)
    for other in layouts[1:]:
        if list(other.types) != list(first.types):
            missing = [name for name in first.types if name not in other.types]
            extra = [name for name in other.types if name not in first.types]
            said = [f"it lacks {quoted(missing)}"] if missing else []
            said += [f"it adds {quoted(extra)}"] if extra else []
            raise DataError(
                "the files have different columns: "
                + (" and ".join(said) or "their order differs"),
                where=f"{other.file.name}, compared with {first.file.name}",
                remedy="read files of one kind by one datasource: narrow the path, or name the "
                "columns that all have in columns=[…]",
            )
        for name, kind in other.types.items():
            types[name], before = join(types[name], kind), types[name]
            known = {before, kind} - {NOTHING}
            if name not in given and len(known) == 2 and types[name] == "string":
                raise DataError(
                    f"column '{name}' is of type {kind}, and of type {before} in other files",
                    where=f"{other.file.name}, compared with {first.file.name}",
                    remedy=f"say which it is: schema={{'{name}': 'string'}}",
                )
    return {name: settle(kind) for name, kind in types.items()}


def _payloads(
    layouts: Sequence[_Layout], schema: Mapping[str, str], rows: int
) -> Iterator[dict[str, Any]]:
    types = [list(column) for column in schema.items()]
    for layout in layouts:
        common = {"file": list(layout.file), "types": types, "rows_per_shard": rows}
        whole = layout.rows if layout.file.store is not None else rows
        for start in range(0, layout.rows, max(whole, 1)):
            yield {**common, "start": start, "end": min(start + whole, layout.rows)}


@contextmanager
def _local(file: SourceFile, files: Files) -> Iterator[str]:
    """A local file with the bytes of ``file``."""
    if file.store is None:
        file.open().close()
        yield file.path
        return
    with tempfile.NamedTemporaryFile(dir=files.scratch, suffix=".parquet") as copy:
        with file.open() as stream:
            shutil.copyfileobj(stream, copy, 1 << 20)
        copy.flush()
        yield copy.name


def _scan(path: str) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


# -- units -----------------------------------------------------------------------------------------


def describe(payload: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """Unit: how many rows a file has, and what the values of its columns need.

    Returns ``rows`` and ``types``, or ``problem``.
    """
    file = SourceFile(*payload["file"])
    try:
        with _local(file, files) as path:
            try:
                schema = pl.read_parquet_schema(path)
                rows = _scan(path).select(pl.len()).collect().item() if schema else 0
            except (pl.exceptions.PolarsError, OSError) as error:
                raise damaged(file, error) from error
        check_names(list(schema), file.name)
        wanted = payload["columns"]
        if wanted is not None:
            check_known(wanted, list(schema), file.name, "columns")
            schema = {name: schema[name] for name in wanted}
        return {"rows": rows, "types": list(types_of(schema, file.name).items())}
    except DataError as error:
        return {"problem": {"message": error.message, "where": error.where, "remedy": error.remedy}}


def read_shards(payload: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """Unit: read some rows of a file, and write them as shards.

    Returns ``shards``, and ``problem``: the first value that cannot be of its column's type.
    """
    file = SourceFile(*payload["file"])
    types = dict(payload["types"])
    shards = []
    with _local(file, files) as path:
        for start in range(payload["start"], payload["end"], payload["rows_per_shard"]):
            count = min(payload["rows_per_shard"], payload["end"] - start)
            try:
                frame = _scan(path).select(list(types)).slice(start, count).collect()
            except (pl.exceptions.PolarsError, OSError) as error:
                raise damaged(file, error) from error
            try:
                shards.append(write_shard(table_of(frame, types), files))
            except MisfitError as error:
                place = f"{file.name}, row {start + error.row + 1}, column '{error.column}'"
                problem = {"message": error.message, "where": place, "remedy": error.remedy}
                return {"shards": [], "problem": problem}
    return {"shards": shards}
