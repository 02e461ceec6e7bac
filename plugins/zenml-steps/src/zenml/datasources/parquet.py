"""Rows of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zenml.core import StepContext
from zenml.core.errors import Problem
from zenml.datasources._table import FileDatasource

__all__ = ["ParquetDatasource"]


class ParquetDatasource(FileDatasource):
    """Rows of Parquet files: one file, a folder, a glob, or the like in any artifact store.

    ::

        ParquetDatasource(name="flights", path="data/flights.parquet")
        ParquetDatasource(name="clicks", path="gs://bucket/*.parquet", columns=["at", "page"])

    Several files are read in the order of their names; each has the same columns, in the same
    order. Of a folder, the files ending in ``.parquet`` are read, and no folders inside it.

    Booleans, integers, floats and strings stay what they are. Decimals become integers if they have
    no digits behind the point (strings, if they have more than 18 before it), and floats otherwise.
    Dates, times and timestamps become strings as in ISO 8601, those with a zone in UTC. Columns of
    lists, structures, bytes or durations are refused.

    Parameters:
        name: Under which its commits are listed.
        path: File, folder, glob (``*``, ``?``, ``[…]``; ``**`` for folders inside), or URL.
        schema: Other types for some columns: ``boolean``, ``integer``, ``float`` or ``string``. A
            value that cannot be of that type without loss is an error, and no text is parsed.
        columns: Only these, in this order; all of them by default.
        rows_per_shard: Rows in each shard of the snapshot. A shard ends earlier at the end of a
            file, and at 8,388,608 values.

    Raises (when it is read):
        DataError: a file is missing, damaged, without rows, or not like the others; names file,
            row and column. Nothing is kept of a snapshot that failed.
    """

    suffixes = (".parquet",)

    columns: tuple[str, ...] | None = None

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """See ``Settings.validate``."""
        yield from super().validate()
        if self.columns is not None and not self.columns:
            yield Problem("columns", "is empty", "name columns, or leave it out to read all")
        if len(set(self.columns or ())) < len(self.columns or ()):
            yield Problem("columns", "names a column twice")

    def run(self, context: StepContext) -> dict[str, Any]:
        """Take the snapshot: ``examples`` (a Dataset), ``statistics`` and ``schema``."""
        from zenml.datasources._parquet_snapshot import take_snapshot

        return take_snapshot(self, context)
