"""Taking a snapshot of images: their bytes as they are, each decoded once to see that it can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from zenml.core import Blob, Files, StepContext
from zenml.core.errors import DataError
from zenml.datasources._csv_records import SHARD_BYTES
from zenml.datasources._image_labels import find_labels
from zenml.datasources._snapshot import put_together, raise_first_problem, write_shard
from zenml.datasources._source_bytes import read
from zenml.datasources._source_files import FileBelow, SourceFile, find_below, stamp
from zenml.steps._images import why_unreadable
from zenml.steps._tables import DTYPES, read_parquet, write_parquet

if TYPE_CHECKING:
    from zenml.datasources.image import ImageDatasource

__all__ = ["read_images", "take_snapshot"]

#: Problems that a message shows.
_SHOWN: Final = 20


def take_snapshot(source: ImageDatasource, context: StepContext) -> dict[str, Any]:
    """See ``ImageDatasource.run``."""
    found = find_below(source.base_path)
    stamps = {file.source: stamp(file.source) for file in found}
    table, files = find_labels(source, found, context)
    results = context.map(read_images, list(_payloads(table, files, source, context.files)))
    raise_first_problem(results, stamps)
    _raise_all([problem for result in results for problem in result["problems"]], source.base_path)
    kinds = {dtype: kind for kind, dtype in DTYPES.items()}
    schema = {name: kinds[type(dtype)] for name, dtype in table.schema.items()}
    return put_together(
        {**schema, "image": "binary"}, [result["shard"] for result in results], context
    )


def _payloads(
    table: pl.DataFrame, files: Sequence[FileBelow], source: ImageDatasource, store: Files
) -> Iterator[dict[str, Any]]:
    """Consecutive images, as many as a shard may hold; always at least one."""
    start = size = 0
    for place, file in enumerate(files):
        if place > start and (
            place - start == source.rows_per_shard or size + file.size > SHARD_BYTES
        ):
            yield _payload(table, files, start, place, store)
            start, size = place, 0
        size += file.size
    yield _payload(table, files, start, len(files), store)


def _payload(
    table: pl.DataFrame, files: Sequence[FileBelow], start: int, end: int, store: Files
) -> dict[str, Any]:
    blob = write_parquet(table[start:end], store)
    places = [list(file.source) for file in files[start:end]]
    return {"labels": [blob.digest, blob.size], "files": places}


def _raise_all(problems: Sequence[str], where: str) -> None:
    if problems:
        shown = "; ".join(problems[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"files are no images that can be read: {shown}{more}",
            where=where,
            remedy="replace them, or take them out of the folder and of its labels",
        )


# -- units -----------------------------------------------------------------------------------------


def read_images(payload: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """Unit: read the images of one shard, and write it.

    Returns ``shard``, and ``problems``: what is wrong with each file that is no image.
    """
    labels = read_parquet(Blob(*payload["labels"]), files)
    images, problems = [], []
    for path, place in zip(labels["path"], payload["files"], strict=True):
        file = SourceFile(*place)
        with file.open() as stream:
            data = read(stream, SHARD_BYTES + 1, file)
        wrong = (
            f"has more than {SHARD_BYTES >> 20} MiB"
            if len(data) > SHARD_BYTES
            else why_unreadable(data)
        )
        if wrong is not None:
            problems.append(f"'{path}' {wrong}")
        elif not problems:
            images.append(data)
    if problems:
        return {"shard": None, "problems": problems}
    column = pl.Series("image", images, dtype=pl.Binary)
    return {"shard": write_shard(labels.with_columns(column), files), "problems": []}
