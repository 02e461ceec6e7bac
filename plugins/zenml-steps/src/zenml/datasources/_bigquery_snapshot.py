"""Taking a snapshot of a table or a query in BigQuery: one query, whose result is read by pages.

A query sees one moment of its tables. BigQuery keeps its result for a day, so that it can be read
twice if a type turns out to be wider than it looked. The pages come by REST (``getQueryResults``),
in the order of the rows; the Storage API, which is faster, gives rows in any order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from zenml.core import StepContext
from zenml.core.errors import DataError, RunCancelledError
from zenml.datasources._bigquery_client import REQUEST, connected, retry, table_of, where
from zenml.datasources._rows import take_rows
from zenml.datasources._snapshot import check_known, check_names

if TYPE_CHECKING:
    from google.cloud import bigquery

    from zenml.datasources.bigquery import BigQueryDatasource

__all__ = ["take_snapshot"]

#: Seconds for the request that cancels a query.
_PARTING: Final = 10.0
#: Values of a page.
_PAGE: Final = 1 << 16
#: BigQuery's types to what their values need; both names of a type are in use.
_KINDS: Final = {
    "BOOL": "boolean",
    "BOOLEAN": "boolean",
    "INT64": "integer",
    "INTEGER": "integer",
    "FLOAT64": "float",
    "FLOAT": "float",
    "NUMERIC": "float",
    "BIGNUMERIC": "float",
    "STRING": "string",
    "DATE": "string",
    "TIME": "string",
    "DATETIME": "string",
    "TIMESTAMP": "string",
}


def take_snapshot(source: BigQueryDatasource, context: StepContext) -> dict[str, Any]:
    """See ``BigQueryDatasource.run``."""
    with connected(source) as client:
        fields = {field.name: field for field in _fields(source, client)}
        kinds = _kinds(source, list(fields.values()))
        job = _execute(_statement(source, list(fields)), source, client, context)

        @contextmanager
        def rows() -> Iterator[tuple[list[str], Any]]:
            size = max(_PAGE // len(fields), 1)
            result = iter(
                job.result(page_size=size, retry=retry(), timeout=REQUEST, job_retry=None)
            )
            yield list(fields), lambda count: [row.values() for row in islice(result, count)]

        return take_rows(rows, source, where(source), context, kinds)


# -- the query -------------------------------------------------------------------------------------


def _rows(source: BigQueryDatasource) -> str:
    if source.query is None:
        return f"`{table_of(source)}`"
    written = source.query.strip(" \t\r\n;")
    return f"(\n{written}\n)"


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _fields(source: BigQueryDatasource, client: bigquery.Client) -> list[bigquery.SchemaField]:
    """The columns to be read, found out without reading. Raises ``DataError``."""
    statement = f"SELECT *\nFROM {_rows(source)}"
    found = _begin(statement, source, client, dry_run=True).schema or []
    names = [field.name for field in found]
    check_names(names, where(source))
    check_known(source.order_by, names, where(source), "order_by")
    if source.columns is None:
        return list(found)
    check_known(source.columns, names, where(source), "columns")
    return [found[names.index(name)] for name in source.columns]


def _kinds(source: BigQueryDatasource, fields: list[bigquery.SchemaField]) -> dict[str, str]:
    """Column to what its values need by its type. Raises ``DataError`` for what none can be."""
    kinds, unfit = {}, []
    for field in fields:
        kind = _KINDS.get(field.field_type)
        repeated = field.mode == "REPEATED"
        if kind is None or repeated:
            called = {"RECORD": "STRUCT"}.get(field.field_type, field.field_type)
            unfit.append(f"'{field.name}' is of type {f'ARRAY<{called}>' if repeated else called}")
        elif field.precision is not None and not field.scale and kind == "float":
            kinds[field.name] = "integer"  # NUMERIC(20) or BIGNUMERIC(20)
        else:
            kinds[field.name] = kind
    if unfit:
        shown = ", ".join(unfit[:20])
        raise DataError(
            f"no dataset holds columns of that type: {shown}",
            where=where(source),
            remedy="leave them out by columns=[…], or convert them in a query: TO_BASE64(bytes), "
            "ST_ASTEXT(geography), TO_JSON_STRING(json, structure or array), CAST(… AS STRING)",
        )
    check_known(source.schema or {}, list(kinds), where(source), "the schema")
    return kinds


def _statement(source: BigQueryDatasource, names: list[str]) -> str:
    columns = ", ".join(map(_quoted, names))
    order = ", ".join(map(_quoted, dict.fromkeys([*source.order_by, *names])))
    limit = f"\nLIMIT {source.query_limit}" if source.query_limit is not None else ""
    return f"SELECT {columns}\nFROM {_rows(source)}\nORDER BY {order}{limit}"


def _begin(
    statement: str, source: BigQueryDatasource, client: bigquery.Client, *, dry_run: bool = False
) -> bigquery.QueryJob:
    from google.cloud import bigquery

    settings = bigquery.QueryJobConfig(dry_run=dry_run, use_query_cache=not dry_run)
    if source.query is not None and source.query_dataset is not None:
        settings.default_dataset = f"{source.query_project}.{source.query_dataset}"
    # A call is made again until the deadline, and finds the query that it may have begun already. A
    # query that fails is not begun again: the client would do so for most of an hour.
    return client.query(
        statement, job_config=settings, retry=retry(), timeout=REQUEST, job_retry=None
    )


def _execute(
    statement: str, source: BigQueryDatasource, client: bigquery.Client, context: StepContext
) -> bigquery.QueryJob:
    """Wait until the query has ended, well or badly. It is cancelled if nobody waits any more."""
    job = _begin(statement, source, client)
    wait = 0.1
    try:
        while not job.done(retry=retry(), timeout=REQUEST):
            if context.cancelled():
                raise RunCancelledError("the run was cancelled", where=where(source))
            time.sleep(wait)
            wait = min(wait * 1.5, 5.0)
    except BaseException:
        with suppress(Exception):
            job.cancel(retry=None, timeout=_PARTING)
        raise
    return job
