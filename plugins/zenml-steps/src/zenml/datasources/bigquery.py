"""Rows of BigQuery."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any, Final

from zenml.core import StepContext
from zenml.core.errors import Problem
from zenml.datasources._table import TableDatasource

__all__ = ["BigQueryDatasource"]

#: What cannot leave the quotes of an identifier, and names one table.
_NAMES: Final = {
    "query_project": re.compile(r"[a-z0-9][a-z0-9.:-]*"),
    "dest_project": re.compile(r"[a-z0-9][a-z0-9.:-]*"),
    "query_dataset": re.compile(r"\w+"),
    "query_table": re.compile(r"\w[\w -]*"),
}


class BigQueryDatasource(TableDatasource):
    """Rows of a table or a query in BigQuery: ``pip install 'zenml-steps[bigquery]'``.

    ::

        BigQueryDatasource(
            name="taxi",
            query_project="bigquery-public-data",
            query_dataset="chicago_taxi_trips",
            query_table="taxi_trips",
            columns=["unique_key", "trip_miles", "fare"],
            query_limit=100_000,
            dest_project="my-project",
        )

    A snapshot is the result of one query, which sees one moment of its tables. BigQuery keeps the
    result for a day, and it is read page by page, where the step runs: memory is bounded by the
    shard. Nothing is exported on the way, so no bucket is needed.

    Rows have a fixed order, so that an unchanged table gives the same snapshot: that of the columns
    in ``order_by``, and then of all columns that are read, from the first on. Rows that are equal
    in all of them can change places without a difference.

    Types are those of the columns: BOOL is boolean, INT64 integer, FLOAT64 float. NUMERIC and
    BIGNUMERIC are floats; those without digits behind the point, such as NUMERIC(20, 0), are
    integers, or strings if a value has more than 64 bits. DATE, TIME, DATETIME and TIMESTAMP become
    strings as in ISO 8601, the last one in UTC. BYTES, STRUCT, ARRAY, JSON, GEOGRAPHY, INTERVAL and
    RANGE are refused: convert them in a query, or leave them out.

    Credentials are found where Google's libraries look for them (``gcloud auth application-default
    login``, GOOGLE_APPLICATION_CREDENTIALS, the service account of a machine), and are part of no
    plan. They need the roles BigQuery Job User in ``dest_project`` and BigQuery Data Viewer on the
    tables.

    Parameters:
        name: Under which its commits are listed.
        query_project: The project of the dataset.
        query_dataset: The dataset of the table. A query means it where it names a table alone.
        query_table: The table, or view. Either this or ``query``.
        query: A SELECT in GoogleSQL. What it means must not depend on the order of its own rows. A
            dataset that it names without a project is one of ``dest_project``.
        columns: Only these, in this order; all of them by default.
        order_by: Columns to sort by first.
        query_limit: Only so many rows, from the first on.
        dest_project: The project in which the query runs, and which pays for it; by default
            ``query_project``.
        location: Where the query runs, such as ``EU``; BigQuery finds it out by default.
        schema: Other types for some columns: ``boolean``, ``integer``, ``float`` or ``string``. A
            value that cannot be of that type without loss is an error, and no text is parsed.
        rows_per_shard: Rows in each shard of the snapshot. A shard ends earlier at 64 MiB of text,
            and at 8,388,608 values.

    Raises (when it is read):
        DataError: BigQuery refuses or cannot be reached, there are no rows, or a column is none
            that a dataset holds. Nothing is kept of a snapshot that failed.
    """

    # Who pays, and where, makes no difference to the rows.
    unkeyed = frozenset({"name", "dest_project", "location"})

    query_project: str
    query_dataset: str | None = None
    query_table: str | None = None
    query: str | None = None
    columns: tuple[str, ...] | None = None
    order_by: tuple[str, ...] = ()
    query_limit: int | None = None
    dest_project: str | None = None
    location: str | None = None

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """See ``Settings.validate``."""
        yield from super().validate()
        for parameter, pattern in _NAMES.items():
            value = getattr(self, parameter)
            if value is not None and not pattern.fullmatch(value):
                remedy = "for more than one table, write a query"
                yield Problem(
                    parameter,
                    f"no such name is possible: {value!r}",
                    remedy if parameter == "query_table" else None,
                )
        if (self.query_table is None) == (self.query is None):
            yield Problem("query_table", "expected either query_table or query")
        elif self.query_table is not None and self.query_dataset is None:
            yield Problem("query_dataset", "names the dataset of the table, and was not given")
        if self.query is not None and not self.query.strip(" \t\r\n;"):
            yield Problem("query", "is empty")
        if self.query_limit is not None and self.query_limit < 1:
            yield Problem("query_limit", f"expected at least 1, found {self.query_limit}")
        for parameter in ("columns", "order_by"):
            names = getattr(self, parameter) or ()
            if len(set(names)) < len(names):
                yield Problem(parameter, "names a column twice")
        if self.columns is not None and not self.columns:
            yield Problem("columns", "is empty", "name columns, or leave it out to read all")

    def fingerprint(self) -> dict[str, Any]:
        """When the table was last changed; asks BigQuery, and reads no rows. Raises ``DataError``.

        Never the same twice for queries, views and tables that rows are streamed into: nothing says
        that those have not changed, so each run reads them.
        """
        from zenml.datasources._bigquery_client import last_change

        found = None if self.query_table is None else last_change(self)
        return found or {"read": secrets.token_hex(16)}

    def run(self, context: StepContext) -> dict[str, Any]:
        """Take the snapshot: ``examples`` (a Dataset), ``statistics`` and ``schema``."""
        from zenml.datasources._bigquery_snapshot import take_snapshot

        return take_snapshot(self, context)
