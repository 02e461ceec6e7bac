"""Rows of JSON Lines files."""

from __future__ import annotations

from typing import Any

from zenml.core import StepContext
from zenml.datasources._table import FileDatasource

__all__ = ["JSONDatasource", "JSONLinesDatasource"]


class JSONLinesDatasource(FileDatasource):
    """Rows of JSON Lines files: one object a line, in one file, a folder, a glob, or in a store.

    ::

        JSONLinesDatasource(name="clicks", path="gs://bucket/clicks/*.jsonl.gz")

    Files may be plain, compressed with gzip, or a ZIP archive of one. Several files are read in the
    order of their names. Of a folder, the files ending in ``.jsonl``, ``.ndjson``, either with
    ``.gz``, and ``.json`` are read, and no folders inside it.

    The columns are the keys of all lines, in the order in which they first appear. A key that a
    line lacks is a missing value, as is null; an empty string is a value. A column's type is the
    narrowest of boolean, integer, float and string that fits *all* of its values; no text is parsed
    for it. Whole numbers of more than 64 bits make it a column of strings. Blank lines are skipped.

    Objects and lists as values are refused, and so is what JSON does not allow: NaN, a key that
    stands twice in an object, text that is not UTF-8.

    Parameters:
        name: Under which its commits are listed.
        path: File, folder, glob (``*``, ``?``, ``[…]``; ``**`` for folders inside), or URL.
        schema: Types of some or all columns: ``boolean``, ``integer`` (64 bits), ``float`` (64
            bits) or ``string``. A value that cannot be of that type without loss is an error.
        rows_per_shard: Lines in each shard of the snapshot. A shard ends earlier at the end of a
            file, at 64 MiB of text, and at 8,388,608 values.

    Raises (when it is read):
        DataError: a file is missing, empty, or not what it should be; names file, line and column.
            Nothing is kept of a snapshot that failed.
    """

    suffixes = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json")

    def run(self, context: StepContext) -> dict[str, Any]:
        """Take the snapshot: ``examples`` (a Dataset), ``statistics`` and ``schema``."""
        from zenml.datasources._json_snapshot import take_snapshot

        return take_snapshot(self, context)


#: The name that earlier versions had for it.
JSONDatasource = JSONLinesDatasource
