"""Taking a snapshot of a table or a query: one transaction, one stream of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zenml.core import StepContext
from zenml.core.errors import DataError
from zenml.datasources._rows import take_rows
from zenml.datasources._snapshot import check_known, quoted

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

    from zenml.datasources.sql import _DatabaseDatasource

__all__ = ["take_snapshot"]

_EXTRAS: Final = {"sqlite": "sql", "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}


def take_snapshot(source: _DatabaseDatasource, context: StepContext) -> dict[str, Any]:
    """See ``SQLDatasource.run``."""
    with _transaction(source) as connection:
        statement = _statement(source, connection)
        # The number is that of a stream that no client buffers; the size of its pieces is another.
        streaming = connection.execution_options(stream_results=True, max_row_buffer=1000)

        @contextmanager
        def rows() -> Iterator[tuple[list[str], Any]]:
            with streaming.execute(statement) as result:
                yield list(result.keys()), result.fetchmany

        return take_rows(rows, source, _where(source), context)


def _where(source: _DatabaseDatasource) -> str:
    url = source.database_url()
    place = f"{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database or ''}"
    found = f"{url.get_backend_name()}://{place}"
    return f"{found}, table '{source.table}'" if source.table else f"{found}, query"


# -- the connection --------------------------------------------------------------------------------


@contextmanager
def _transaction(source: _DatabaseDatasource) -> Iterator[Connection]:
    """A transaction that only reads, and sees one moment. Raises ``DataError``."""
    try:
        import sqlalchemy
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise _not_installed("sql", error) from error
    url = source.database_url()
    kind = url.get_backend_name()
    where = _where(source)
    if source.password is not None:
        url = url.set(password=source.password.resolve())
    try:
        options: dict[str, Any] = {"poolclass": sqlalchemy.NullPool}
        if kind == "sqlite":
            options["creator"] = _sqlite(url.database or "")
        engine = sqlalchemy.create_engine(url, **options)
    except ImportError as error:
        raise _not_installed(_EXTRAS[kind], error) from error
    try:
        with engine.connect() as connection:
            _begin(connection, kind)
            try:
                yield connection
            finally:
                connection.rollback()
    except SQLAlchemyError as error:
        # SQLAlchemy's own text repeats the statement; the driver's says what is wrong.
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise DataError(
            f"the database refuses: {said}",
            where=where,
            remedy="check the URL, the name of the table, the query and the permissions of the "
            "user; where the step runs, the database must be reachable",
        ) from None
    finally:
        engine.dispose()


def _sqlite(path: str) -> Any:
    import sqlite3
    from urllib.parse import quote

    def connect() -> sqlite3.Connection:
        # Read only, so that a wrong path makes no new database.
        name = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
        return sqlite3.connect(name, uri=True, isolation_level=None)

    return connect


def _begin(connection: Connection, kind: str) -> None:
    """Begin what SQLAlchemy thinks has begun, as each database wants it."""
    if kind == "sqlite":
        connection.exec_driver_sql("BEGIN")
    elif kind == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    else:
        connection.exec_driver_sql("SET time_zone = '+00:00'")  # else it is the server's
        connection.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


def _not_installed(extra: str, error: ImportError) -> DataError:
    return DataError(
        f"a library is missing: {error.name or error}",
        remedy=f"pip install 'zenml-steps[{extra}]'",
    )


# -- the statement ---------------------------------------------------------------------------------


def _statement(source: _DatabaseDatasource, connection: Connection) -> Select[Any]:
    """What gives the rows in a fixed order. Raises ``DataError`` if the order is none."""
    import sqlalchemy as sa

    rows: Any
    order = list(source.order_by)
    query = source.written_query()
    if query is not None:
        # A colon is one, and no parameter begins with it.
        text = query.strip(" \t\r\n;").replace(":", "\\:")
        rows = sa.text(f"(\n{text}\n) AS zenml_rows")
    else:
        schema, _, table = (source.table or "").rpartition(".")
        rows = sa.table(table, schema=schema or None)
        order = order or _primary_key(source, connection, table, schema or None)
    everything = sa.select(sa.text("*")).select_from(rows)
    names = list(connection.execute(everything.limit(0)).keys())
    # SQLite would take the name of no column for text.
    check_known(order, names, _where(source), "order_by")
    _check_order(source, connection, rows, order)
    keys: list[Any] = [sa.column(name) for name in order]
    return everything.order_by(*keys).limit(source.query_limit)


def _primary_key(
    source: _DatabaseDatasource, connection: Connection, table: str, schema: str | None
) -> list[str]:
    import sqlalchemy as sa

    try:
        key = sa.inspect(connection).get_pk_constraint(table, schema=schema)
    except sa.exc.NoSuchTableError:
        raise DataError(
            "there is no such table",
            where=_where(source),
            remedy="check the name; a table in a schema is 'schema.table'",
        ) from None
    columns: list[str] = key["constrained_columns"]
    if not columns:
        raise DataError(
            "the table has no primary key, so its rows have no order",
            where=_where(source),
            remedy="name columns that tell all rows apart: order_by=[…]",
        )
    return columns


def _check_order(
    source: _DatabaseDatasource, connection: Connection, rows: Any, order: Sequence[str]
) -> None:
    """Have the database look for rows that the order does not tell apart, as it compares them."""
    import sqlalchemy as sa

    keys: list[Any] = [sa.column(name) for name in order]
    twice = (
        sa.select(sa.func.count().label("zenml_count"))
        .select_from(rows)
        .group_by(*keys)
        .having(sa.func.count() > 1)
        .limit(1)
    )
    found = connection.execute(twice).first()
    if found is not None:
        raise DataError(
            f"the order is not fixed: {found[0]} rows are equal in {quoted(order)}",
            where=_where(source),
            remedy="add columns to order_by, until they tell all rows apart",
        )
