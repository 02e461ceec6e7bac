"""Orders: what the pods of a map are to do, and where they leave what came of it.

An order is one object in the artifact store, ``<scope>/orders/<digest>/order.json``: a JSON list
whose first line is a table, and which has a line of units for each index. A pod reads the table and
its own line, however many others there are. The digest is that of the table, which has the digests
of the lines; it is all that the pods have to be told, so nobody can have them do anything else.

Beside it are the results of each index, once it is done: one object to read for many units. They
are the units' remembered ones, so whoever does the index again leaves the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from zenml.core import Answer, ArtifactStore, MapContext, Unit
from zenml.core.errors import IntegrityError, ObjectNotFoundError, StoreError

__all__ = ["AGAIN", "RAISED", "REFUSED", "Order", "divided", "indexes_in"]

#: Exit codes of workers, which those of the runner are like: a unit raised, and said what; the work
#: cannot be begun, now or later; the store did not answer.
RAISED: Final = 64
REFUSED: Final = 65
AGAIN: Final = 70


class _Line(msgspec.Struct, frozen=True):
    """Where the units of an index are, from the end of the first line on."""

    offset: int
    size: int
    digest: str


class _Table(msgspec.Struct, frozen=True):
    context: MapContext
    indexes: list[_Line]


class Order:
    """An order in an artifact store.

    Args:
        store: Where it is.
        scope: What all of the step's units are remembered under.
        digest: Which one.
    """

    def __init__(self, store: ArtifactStore, scope: str, digest: str) -> None:
        self.store = store
        self.digest = digest
        self._folder = f"{scope}/orders/{digest}"

    @property
    def key(self) -> str:
        """Its key."""
        return f"{self._folder}/order.json"

    @classmethod
    def put(
        cls, store: ArtifactStore, context: MapContext, groups: Sequence[Sequence[Unit]]
    ) -> Order:
        """Store an order: the units of each index."""
        lines = [msgspec.json.encode(group) for group in groups]
        table, offset = [], 0
        for line in lines:
            table.append(_Line(offset, len(line), _sha256(line)))
            offset += len(line) + 2
        first = msgspec.json.encode(_Table(context, table))
        order = cls(store, context.scope, _sha256(first))
        store.write(order.key, b"[" + b",\n".join([first, *lines]) + b"]")
        return order

    def read(self, index: int) -> tuple[MapContext, list[Unit]]:
        """What an index has to do.

        Raises:
            IntegrityError: what is stored is not the order of this digest.
            StoreError: it cannot be read.
        """
        with self.store.open(self.key) as file:
            line = file.readline()
            first = line.removeprefix(b"[").removesuffix(b"\n").removesuffix(b",")
            table = msgspec.json.decode(self._checked(first, self.digest), type=_Table)
            if index >= len(table.indexes):
                raise IntegrityError(f"the order has no index {index}", where=self.key)
            there = table.indexes[index]
            file.seek(len(line) + there.offset)
            units = self._checked(file.read(there.size), there.digest)
        return table.context, msgspec.json.decode(units, type=list[Unit])

    def groups(self) -> list[list[Unit]]:
        """The units of each index. Raises as ``read`` does."""
        try:
            _, *groups = msgspec.json.decode(self.store.read(self.key))
            return msgspec.convert(groups, list[list[Unit]])
        except (msgspec.DecodeError, ValueError) as error:
            raise IntegrityError("an order cannot be read", where=self.key) from error

    def put_results(self, index: int, results: Sequence[Any]) -> None:
        """Store what came of an index."""
        self.store.write(f"{self._folder}/{index}.json", msgspec.json.encode(results))

    def results(self, index: int) -> list[Any] | None:
        """What came of an index; None if it has left nothing."""
        try:
            return msgspec.json.decode(self.store.read(f"{self._folder}/{index}.json"), type=list)
        except (ObjectNotFoundError, msgspec.DecodeError):
            return None

    def put_error(self, index: int, answer: Answer) -> None:
        """Store what a unit of an index has raised."""
        self.store.write(f"{self._folder}/{index}-error.json", msgspec.json.encode(answer))

    def error(self, index: int) -> Exception | None:
        """What a unit of an index has raised, as it is to be raised here."""
        try:
            data = self.store.read(f"{self._folder}/{index}-error.json")
            return msgspec.json.decode(data, type=Answer).exception()
        except (StoreError, msgspec.DecodeError):
            return None

    def _checked(self, data: bytes, digest: str) -> bytes:
        if _sha256(data) != digest:
            raise IntegrityError("the order is not the one that was given", where=self.key)
        return data


def divided(
    units: Sequence[Unit], parallelism: int, units_per_pod: int | None
) -> list[Sequence[Unit]]:
    """The units of each index.

    By default there are eight times as many indexes as pods at once: few enough that starting pods
    does not take longer than the work, enough that the last ones do not wait for one of them.
    """
    size = units_per_pod or -(-len(units) // (8 * parallelism))
    return [units[first : first + size] for first in range(0, len(units), size)]


def indexes_in(text: str) -> Iterator[int]:
    """Indexes as the status of a Job has them: ``1-3,7``."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
