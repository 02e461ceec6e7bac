"""Rows that come as a stream of Python values, as of a database, and the shards made of them.

Types are found out from all values. The first shard gives a guess; if a later value does not fit
it, the rows are read once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import polars as pl

from zenml.core import StepContext
from zenml.core.errors import DataError, RunCancelledError
from zenml.datasources._snapshot import (
    check_known,
    check_names,
    put_together,
    shard_rows,
    write_shard,
)
from zenml.datasources._table import TableDatasource
from zenml.datasources._types import NOTHING, UNKNOWN, join, settle
from zenml.datasources._values import first_misfit, need_of, series_of, unsupported

__all__ = ["take_rows"]

#: Values fetched at once.
_FETCHED: Final = 1 << 16
#: Characters of text after which a shard ends.
_TEXT: Final = 64 << 20

#: Gives the next rows: as many as it is asked for, or fewer at the end.
_Fetch = Callable[[int], Sequence[Sequence[Any]]]
#: Gives the names of the columns, and all rows from the first on.
_Rows = Callable[[], AbstractContextManager[tuple[list[str], _Fetch]]]


def take_rows(
    rows: _Rows,
    source: TableDatasource,
    where: str,
    context: StepContext,
    least: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write a snapshot of all rows; the outputs of a datasource.

    Args:
        rows: Called each time that the rows are read; they are the same then, in the same order.
        source: Whose ``schema`` and ``rows_per_shard`` count.
        where: Where the rows are, for messages.
        context: The step's.
        least: Columns to what they need whatever their values are.

    Raises:
        DataError: there are no rows, or a value is none that a dataset holds.
        RunCancelledError: the run was cancelled meanwhile.
    """
    reader = _Reader(rows, source, where, context, least or {})
    while not reader.read():
        context.log.info("reading again, because a type is wider than it looked")
    if not reader.rows:
        raise DataError(
            "there are columns, and no rows",
            where=where,
            remedy="insert rows, or ask for others",
        )
    types = {name: settle(kind) for name, kind in reader.types.items()}
    return put_together(types, reader.shards, context)


class _Reader:
    """Reads all rows, as often as it takes to know the types."""

    def __init__(
        self,
        stream: _Rows,
        source: TableDatasource,
        where: str,
        context: StepContext,
        least: Mapping[str, str],
    ) -> None:
        self.stream = stream
        self.source = source
        self.where = where
        self.context = context
        self.least = least
        self.types: dict[str, str] = {}
        self.rows = 0
        self.shards: list[dict[str, Any]] = []

    def read(self) -> bool:
        """Read all rows. Says whether all shards were written with types that fit everything."""
        with self.stream() as (names, fetch):
            check_names(names, self.where)
            given = self.source.schema or {}
            check_known(given, names, self.where, "the schema")
            needs = {name: self.least.get(name, NOTHING) for name in names}
            assumed = self.types
            self.rows, self.shards = 0, []
            written = True
            size = shard_rows(self.source.rows_per_shard, len(names))
            for rows in _pieces(fetch, size, max(_FETCHED // len(names), 1)):
                if self.context.cancelled():
                    raise RunCancelledError("the run was cancelled", where=self.where)
                columns = dict(zip(names, zip(*rows, strict=True), strict=True))
                for name, values in columns.items():
                    known = given.get(name)
                    need = self._need(name, values, known)
                    needs[name] = known or join(needs[name], need)
                # The first shard says what to try.
                assumed = assumed or {
                    name: need if settle(need) == need else UNKNOWN for name, need in needs.items()
                }
                written = written and all(
                    settle(need if assumed[name] == UNKNOWN else join(assumed[name], need))
                    == settle(assumed[name])
                    for name, need in needs.items()
                )
                if written:
                    frame = pl.DataFrame(
                        [
                            self._series(name, values, settle(assumed[name]))
                            for name, values in columns.items()
                        ]
                    )
                    self.shards.append(write_shard(frame, self.context.files))
                self.rows += len(rows)
        self.types = {name: settle(need) for name, need in needs.items()}
        return written

    def _need(self, name: str, values: Sequence[Any], given: str | None) -> str:
        strange = unsupported(values)
        if strange is not None:
            raise DataError(
                f"no dataset holds columns of that type: column '{name}' holds {strange.__name__}",
                where=self.where,
                remedy="cast it to text or a number in a query, or leave it out",
            )
        if given is None:
            return need_of(values)
        self._series(name, values, given)
        return given

    def _series(self, name: str, values: Sequence[Any], kind: str) -> pl.Series:
        try:
            return series_of(name, values, kind)
        except ValueError:
            wrong = first_misfit(values, kind) or 0
            value = repr(values[wrong])
            shown = value if len(value) <= 40 else value[:39] + "…"
            raise DataError(
                f"column '{name}' is of type {kind}, and {shown} is not",
                where=f"{self.where}, row {self.rows + wrong + 1}, column '{name}'",
                remedy=f"give it another type: schema={{'{name}': 'string'}}",
            ) from None


def _pieces(fetch: _Fetch, size: int, fetched: int) -> Iterator[list[Sequence[Any]]]:
    """The rows of each shard."""
    rows: list[Sequence[Any]] = []
    text = 0
    while some := fetch(min(fetched, size - len(rows))):
        rows += some
        text += sum(len(value) for row in some for value in row if type(value) is str)
        if len(rows) == size or text >= _TEXT:
            yield rows
            rows, text = [], 0
    if rows:
        yield rows
