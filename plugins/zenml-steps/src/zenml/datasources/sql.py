"""Rows of databases: SQLite, PostgreSQL, MySQL and MariaDB."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from zenml.core import SecretRef, StepContext
from zenml.core.errors import Problem
from zenml.datasources._table import TableDatasource

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["PostgresDatasource", "SQLDatasource"]

#: Scheme of a URL to SQLAlchemy's name of dialect and driver.
_DRIVERS: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


class _DatabaseDatasource(TableDatasource):
    """What datasources of databases share.

    Parameters:
        order_by: Columns whose values, together, no two rows share.
        query_limit: Only so many rows, from the first on.
        password: Where the password is.
    """

    unkeyed = frozenset({"name", "password"})

    table: str | None = None
    order_by: tuple[str, ...] = ()
    query_limit: int | None = None
    password: SecretRef | None = None

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """See ``Settings.validate``."""
        yield from super().validate()
        if self.query_limit is not None and self.query_limit < 1:
            yield Problem("query_limit", f"expected at least 1, found {self.query_limit}")
        if self.table is not None and not self.table:
            yield Problem("table", "is empty", "name a table")

    @abstractmethod
    def database_url(self) -> URL:
        """Where the database is, without the password."""

    def written_query(self) -> str | None:
        """The query, if it is none that only names a table."""
        return None

    def fingerprint(self) -> dict[str, Any]:
        """Never the same twice: no database says cheaply that nothing in it changed.

        So each run reads the rows. Equal rows are the same snapshot all the same, and steps behind
        it are served from the cache; a commit is not read again.
        """
        return {"read": secrets.token_hex(16)}

    def run(self, context: StepContext) -> dict[str, Any]:
        """Take the snapshot: ``examples`` (a Dataset), ``statistics`` and ``schema``."""
        from zenml.datasources._sql_snapshot import take_snapshot

        return take_snapshot(self, context)


class SQLDatasource(_DatabaseDatasource):
    """Rows of a table or a query, in SQLite, PostgreSQL, MySQL or MariaDB.

    ::

        SQLDatasource(name="flights", url="sqlite:///data/flights.db", table="flights")
        SQLDatasource(
            name="delays",
            url="postgresql://reader@db.example.org/flights",
            password="env:FLIGHTS_PASSWORD",
            query="SELECT id, carrier, dep_delay FROM flights WHERE year = 2013",
            order_by=["id"],
        )

    A snapshot is read in one transaction that only reads, so it shows one moment. It is read as a
    stream, where the step runs: memory is bounded by the shard, and the password is needed there.

    Rows have a fixed order, so that an unchanged table gives the same snapshot: that of a table's
    primary key, or of the columns in ``order_by``, which must tell all rows apart.

    A column's type is the narrowest of boolean, integer, float and string that fits *all* of its
    values. Decimals are integers if the column has no digits behind the point, and floats
    otherwise; whole numbers of more than 64 bits make it a column of strings. Dates, times and
    timestamps become strings as in ISO 8601, those with a zone in UTC; UUIDs become strings. Bytes,
    intervals, lists and JSON documents are refused: cast them in a query.

    Parameters:
        name: Under which its commits are listed.
        url: ``sqlite:///relative/path``, ``sqlite:////absolute/path``,
            ``postgresql://user@host:5432/database``, or the same with ``mysql`` or ``mariadb``.
            Never with the password.
        table: The table, or ``schema.table``. Either this or ``query``.
        query: A SELECT. What it means must not depend on the order of its own rows.
        order_by: Columns that tell all rows apart. Required for a query, and for a table without a
            primary key.
        query_limit: Only so many rows, from the first on.
        password: Where the password is: ``env:NAME`` or ``file:PATH``.
        schema: Other types for some columns: ``boolean``, ``integer``, ``float`` or ``string``. A
            value that cannot be of that type without loss is an error, and no text is parsed.
        rows_per_shard: Rows in each shard of the snapshot. A shard ends earlier at 64 MiB of text,
            and at 8,388,608 values.

    Raises (when it is read):
        DataError: the database refuses, there are no rows, or a column is none that a dataset
            holds. Nothing is kept of a snapshot that failed.
        ConfigurationError: the password is not where the reference says.
    """

    url: str
    query: str | None = None

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """See ``Settings.validate``."""
        yield from super().validate()
        scheme = self.url.partition(":")[0]
        if scheme not in _DRIVERS or "://" not in self.url:
            yield Problem("url", f"expected one that begins with {'://, '.join(_DRIVERS)}://")
        elif _holds_password(self.url):
            # The URL is not repeated, since it holds the secret.
            yield Problem(
                "url", "holds a password", "take it out, and pass password='env:NAME' instead"
            )
        elif scheme == "sqlite" and len(self.url) <= len("sqlite:///"):
            yield Problem("url", "names no file", "sqlite:///relative/path, sqlite:////absolute")
        if (self.table is None) == (self.query is None):
            yield Problem("table", "expected either table or query")
        if self.query is not None and not self.query.strip(" \t\r\n;"):
            yield Problem("query", "is empty")
        if self.query is not None and not self.order_by:
            remedy = "name columns that tell all rows apart"
            yield Problem("order_by", "a query has no order of its own", remedy)

    def written_query(self) -> str | None:
        """See ``_DatabaseDatasource``."""
        return self.query

    def database_url(self) -> URL:
        """See ``_DatabaseDatasource``."""
        from sqlalchemy import make_url

        scheme, _, rest = self.url.partition(":")
        return make_url(f"{_DRIVERS[scheme]}:{rest}")


class PostgresDatasource(_DatabaseDatasource):
    """Rows of a table in PostgreSQL: ``SQLDatasource``, with the parts of the URL by name.

    ::

        PostgresDatasource(
            name="flights",
            username="reader",
            password="env:FLIGHTS_PASSWORD",
            database="flights",
            table="flights",
        )

    Parameters:
        name: Under which its commits are listed.
        username: Who reads.
        password: Where the password is: ``env:NAME`` or ``file:PATH``. None if the server asks for
            none.
        database: The database.
        table: The table, or ``schema.table``.
        host: The server, or the folder of its socket.
        port: Its port.
        order_by: Columns that tell all rows apart. Required for a table without a primary key.
        query_limit: Only so many rows, from the first on.
        schema: See ``SQLDatasource``.
        rows_per_shard: See ``SQLDatasource``.
    """

    username: str
    password: SecretRef | None
    database: str
    table: str
    host: str = "localhost"
    port: int = 5432

    def database_url(self) -> URL:
        """See ``_DatabaseDatasource``."""
        from sqlalchemy import URL

        return URL.create(
            _DRIVERS["postgresql"],
            username=self.username,
            host=self.host,
            port=self.port,
            database=self.database,
        )


def _holds_password(url: str) -> bool:
    parts = urlsplit(url)
    names = " ".join(name for name, _ in parse_qsl(parts.query))
    return parts.password is not None or "passw" in names.lower()
