"""Parquet with every option pinned, so that equal rows give equal bytes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from zenml.core import Blob, Files

__all__ = [
    "DTYPES",
    "PATTERN",
    "PATTERN_REMEDY",
    "dtype_of",
    "is_pattern",
    "read_parquet",
    "write_parquet",
]

#: The types of a dataset's columns, and how Polars holds them.
DTYPES: Final[dict[str, type[pl.DataType]]] = {
    "boolean": pl.Boolean,
    "integer": pl.Int64,
    "float": pl.Float64,
    "string": pl.String,
    "binary": pl.Binary,
    "float32": pl.Float32,
}

PATTERN: Final = "no column can be called '{}'"
PATTERN_REMEDY: Final = (
    "give it another name: '*', and what begins with '^' and ends with '$', stand for other columns"
)

_VECTOR = re.compile(r"float32\[(\d+)\]")


def dtype_of(name: str) -> pl.DataType:
    """The Polars type of a dataset's column type."""
    vector = _VECTOR.fullmatch(name)
    return pl.Array(pl.Float32, int(vector[1])) if vector else DTYPES[name]()


def is_pattern(name: str) -> bool:
    """Whether Polars takes the name of a column for a pattern of names, nearly everywhere."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def write_parquet(frame: pl.DataFrame, files: Files) -> Blob:
    """Store a frame as one Parquet file of one row group.

    Pages follow the chunks of the columns, and these follow the number of threads that made the
    frame: hence one chunk. Statistics are left out, since shards are read whole.
    """
    with tempfile.NamedTemporaryFile(dir=files.scratch, suffix=".parquet", delete=False) as draft:
        path = Path(draft.name)
    frame.rechunk().write_parquet(
        path,
        compression="zstd",
        compression_level=1,
        statistics=False,
        row_group_size=max(frame.height, 1),
        data_page_size=1 << 20,
    )
    return files.put(path)


def read_parquet(blob: Blob, files: Files, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a stored Parquet file, or some of its columns."""
    return pl.read_parquet(
        files.fetch(blob),
        columns=None if columns is None else list(columns),
        glob=False,
        hive_partitioning=False,
    )
