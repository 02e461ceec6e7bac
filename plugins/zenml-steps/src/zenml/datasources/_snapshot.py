"""What every datasource does once it has rows: write shards, and put the snapshot together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import polars as pl
from polars import selectors

from zenml.core import Blob, Files, StepContext
from zenml.core.errors import DataError
from zenml.datasources._source_files import SourceFile, changed_since
from zenml.datasources._types import UNKNOWN, join, settle
from zenml.steps._dictionaries import with_dictionaries
from zenml.steps._statistics import measure, merge, schema_of
from zenml.steps._tables import PATTERN, PATTERN_REMEDY, is_pattern, write_parquet
from zenml.steps.dataset import Column, Dataset, Shard

__all__ = [
    "check_known",
    "check_names",
    "numbered",
    "put_together",
    "quoted",
    "raise_first_problem",
    "read_typed",
    "shard_rows",
    "write_shard",
]

#: The most values in a shard: 64 MiB of numbers.
_VALUES: Final = 8 << 20
_PART: Final = "data"
#: Bytes are apart from the other columns, so that who looks at those need not fetch them.
_BYTES_PART: Final = "bytes"


def shard_rows(rows_per_shard: int, columns: int) -> int:
    """Rows in a shard of so many columns; a very wide table has fewer than were asked for."""
    return min(rows_per_shard, max(_VALUES // max(columns, 1), 1))


def write_shard(frame: pl.DataFrame, files: Files) -> dict[str, Any]:
    """Store a shard and its measures: plain data, for ``put_together``."""
    frame = with_dictionaries(frame.rechunk())  # once, for all that looks at it
    parts = {_PART: ~selectors.binary(), _BYTES_PART: selectors.binary()}
    frames = {part: frame.select(columns) for part, columns in parts.items()}
    blobs = {part: write_parquet(some, files) for part, some in frames.items() if some.width}
    measures = measure(frame, files)
    return {
        "rows": frame.height,
        "files": {part: [blob.digest, blob.size] for part, blob in blobs.items()},
        "statistics": [measures.digest, measures.size],
    }


def put_together(
    schema: Mapping[str, str], written: Sequence[Mapping[str, Any]], context: StepContext
) -> dict[str, Any]:
    """The outputs of a datasource: ``examples``, ``statistics`` and ``schema``."""
    statistics = merge((Blob(*shard["statistics"]) for shard in written), schema, context.files)
    shards = []
    first_row = 0
    for shard in written:
        blobs = {part: Blob(*blob) for part, blob in shard["files"].items()}
        shards.append(Shard(first_row, shard["rows"], blobs))
        first_row += shard["rows"]
    columns = tuple(
        Column(name, kind, _BYTES_PART if kind == "binary" else _PART)
        for name, kind in schema.items()
    )
    return {
        "examples": Dataset(columns, tuple(shards)),
        "statistics": statistics,
        "schema": schema_of(statistics),
    }


def read_typed(
    function: Callable[[Mapping[str, Any], Files], dict[str, Any]],
    payloads: Callable[[Mapping[str, str]], Iterable[Any]],
    types: Mapping[str, str],
    stamps: Mapping[SourceFile, Any],
    context: StepContext,
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Read files with types that were guessed, and again with wider ones until all values fit.

    At most a few rounds: each one widens types, and all values were seen in the first.

    Args:
        function: A unit that writes shards. It returns ``shards``; ``needs``, column to what its
            values need, where that is not what was assumed; ``written``, whether all of its shards
            were; and ``problem``, what is wrong with the rows, if anything. Where columns are found
            out too, ``columns`` names those that it saw.
        payloads: The units, once types are assumed.
        types: The first guess, which must be at most the truth.
        stamps: The files, as they were before.
        context: The step's.

    Returns:
        Column to type, in order; and what the units wrote.
    """
    while True:
        results = context.map(function, payloads(types))
        raise_first_problem(results, stamps)
        needed = {
            name: types.get(name, UNKNOWN)
            for names in [result["columns"] for result in results if "columns" in result] or [types]
            for name in names
        }
        for result in results:
            for name, need in result["needs"].items():
                needed[name] = need if needed[name] == UNKNOWN else join(needed[name], need)
        final = {name: settle(kind) for name, kind in needed.items()}
        if (
            all(result["written"] for result in results)
            and list(final) == list(types)
            and all(kind == settle(types[name]) for name, kind in final.items())
        ):
            return final, [shard for result in results for shard in result["shards"]]
        wider = [f"{name} is {kind}" for name, kind in final.items() if types.get(name) != kind]
        context.log.info(
            "reading again, because a type is wider than it looked: %s", ", ".join(wider)
        )
        types = final


def raise_first_problem(
    results: Iterable[Mapping[str, Any]], stamps: Mapping[SourceFile, Any]
) -> None:
    """Raise ``DataError`` if a file changed meanwhile, or for the first problem in the files.

    Units return problems and do not raise them: of several problems the first in the file is the
    one to report, whichever worker is faster.
    """
    changed = changed_since(stamps)
    if changed is not None:
        raise DataError(
            "the file changed while it was read; nothing of it was kept",
            where=changed.name,
            remedy="run again when nothing writes to it",
        )
    for result in results:
        problem = result.get("problem")
        if problem is not None:
            raise DataError(problem["message"], where=problem["where"], remedy=problem["remedy"])


def check_known(names: Iterable[str], columns: Sequence[str], where: str, what: str) -> None:
    """Raise ``DataError`` if ``what`` names a column that is not there."""
    known = set(columns)
    unknown = [name for name in names if name not in known]
    if unknown:
        close = {name: get_close_matches(name, columns, n=1) for name in unknown}
        meant = [f"'{found[0]}' for '{name}'" for name, found in close.items() if found]
        raise DataError(
            f"{what} names columns that the source does not have: {quoted(unknown)}",
            where=f"{where}: {quoted(columns)}",
            remedy=f"did you mean {', '.join(meant)}?" if meant else "name one of these",
        )


def check_names(names: Sequence[str], where: str) -> None:
    """Raise ``DataError`` unless there are columns, each with a name of its own that can be one."""
    if not names:
        raise DataError("there are no columns", where=where, remedy="name a source that has some")
    seen: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if not name:
            raise DataError(
                f"the {numbered(place)} column has no name",
                where=where,
                remedy="give every column a name of its own",
            )
        if is_pattern(name):
            raise DataError(PATTERN.format(name), where=where, remedy=PATTERN_REMEDY)
        if name in seen:
            raise DataError(
                f"there are two columns '{name}': the {numbered(seen[name])} and the "
                f"{numbered(place)}",
                where=where,
                remedy="give every column a name of its own",
            )
        seen[name] = place


def numbered(number: int) -> str:
    """An ordinal: 1st, 2nd, 3rd."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{suffix or 'th'}"


def quoted(names: Iterable[str], limit: int = 20) -> str:
    """Names as a message lists them."""
    listed = list(names)
    shown = ", ".join(f"'{name}'" for name in listed[:limit])
    return f"{shown} and {len(listed) - limit} more" if len(listed) > limit else shown
