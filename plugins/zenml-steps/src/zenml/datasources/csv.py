"""Rows of CSV files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from zenml.core import StepContext
from zenml.core.errors import Problem
from zenml.datasources._table import FileDatasource

__all__ = ["CSVDatasource"]


class CSVDatasource(FileDatasource):
    """Rows of CSV files: one file, a folder, a glob, or the like in any artifact store.

    ::

        CSVDatasource(name="flights", path="data/flights.csv.zip")
        CSVDatasource(name="clicks", path="gs://bucket/clicks/*.csv.gz", schema={"zip": "string"})

    Files may be plain, compressed with gzip, or a ZIP archive of one CSV file. Several files are
    read in the order of their names; each has the same header. Of a folder, the files ending in
    ``.csv``, ``.csv.gz``, ``.gz`` and ``.zip`` are read, and no folders inside it.

    A snapshot is typed. A column's type is the narrowest of boolean, integer, float and string that
    fits *all* of its values, unless ``schema`` says otherwise. An empty number is missing whatever
    ``null_values`` says. Quoting makes no difference to what a value means. Blank lines are
    skipped, except in files of one column, where each is a missing value.

    Parameters:
        name: Under which its commits are listed.
        path: File, folder, glob (``*``, ``?``, ``[…]``; ``**`` for folders inside), or URL.
        schema: Types of some or all columns: ``boolean`` (true, false), ``integer`` (64 bits),
            ``float`` (64 bits) or ``string``.
        null_values: Texts that mean that a value is missing.
        separator: One ASCII character.
        quote: One ASCII character, or None if quotes mean nothing in these files.
        rows_per_shard: Rows in each shard of the snapshot. A shard ends earlier at the end of a
            file, or when it would hold more than 64 MiB of text.

    Raises (when it is read):
        DataError: a file is missing, empty, or not what a CSV file should be; names file, row and
            column. Nothing is kept of a snapshot that failed.
    """

    suffixes = (".csv", ".csv.gz", ".gz", ".zip")

    null_values: tuple[str, ...] = ("", "NA")
    separator: str = ","
    quote: str | None = '"'

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """See ``Settings.validate``."""
        yield from super().validate()
        for parameter in ("separator", "quote"):
            value = getattr(self, parameter)
            if value is not None and not re.fullmatch(r"[\x01-\x7f]", value):
                yield Problem(parameter, f"expected one ASCII character, found {value!r}")
            elif value is not None and value in "\r\n":
                yield Problem(parameter, "cannot be the end of a line")
        if self.separator == self.quote:
            yield Problem("quote", f"is the separator too: {self.quote!r}")

    def run(self, context: StepContext) -> dict[str, Any]:
        """Take the snapshot: ``examples`` (a Dataset), ``statistics`` and ``schema``."""
        from zenml.datasources._csv_snapshot import take_snapshot

        return take_snapshot(self, context)
