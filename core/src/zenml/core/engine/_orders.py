"""Orders: what the workers of a map are to do, and where they leave what came of it.

An order is one object in the artifact store, ``<scope>/orders/<digest>/order.json``: a JSON list
whose first line is a table, and which has a line of units for each index. A worker reads the table
and its own line, however many others there are. The digest is that of the table, which has the
digests of the lines; it is all that workers have to be told, so nobody can have them do anything
else.

Beside it are the results of each index, once it is done: one object to read for many units. They
are the units' remembered ones, so whoever does the index again leaves the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from zenml.core.contracts._store import ArtifactStore
from zenml.core.contracts._units import MapContext, Unit
from zenml.core.engine._answers import Answer, answer_unit
from zenml.core.errors import IntegrityError, ObjectNotFoundError, StoreError
from zenml.core.stores._open import open_store

__all__ = ["PlacedOrder", "WorkOrder"]


class _Line(msgspec.Struct, frozen=True):
    """Where the units of an index are, from the end of the first line on."""

    offset: int
    size: int
    digest: str


class _Table(msgspec.Struct, frozen=True):
    context: MapContext
    indexes: list[_Line]


class WorkOrder:
    """What the workers of a map are to do, as an object in the artifact store.

    For engines that start workers elsewhere: each is told the store, the order's key and digest,
    and an index; none is told units.

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
    ) -> WorkOrder:
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

    @classmethod
    def open(cls, store: str, key: str, digest: str) -> WorkOrder:
        """The order that a worker was told of, by the store's URL."""
        return cls(open_store(store), key.partition("/orders/")[0], digest)

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

    def execute(self, index: int) -> Answer | None:
        """Do what an index says, in this process, and leave what came of it in the store.

        Returns:
            None if all units have returned. What the first one has raised otherwise, which is left
            as well if the store takes it; the units after it are not begun.

        Raises:
            IntegrityError: what is stored is not the order of this digest.
            StoreError: it cannot be read, or the results cannot be written.
        """
        context, units = self.read(index)
        results = []
        for unit in units:
            answer = answer_unit(unit, context)
            if answer.error:
                with suppress(StoreError):
                    self._put(f"{index}-error", answer)
                return answer
            results.append(answer.value)
        self._put(f"{index}", results)
        return None

    def results(self, index: int) -> list[Any] | None:
        """What came of an index; None if it has left nothing."""
        try:
            return msgspec.json.decode(self.store.read(f"{self._folder}/{index}.json"), type=list)
        except (ObjectNotFoundError, msgspec.DecodeError):
            return None

    def error(self, index: int) -> Exception | None:
        """What a unit of an index has raised, as it is to be raised here."""
        try:
            data = self.store.read(f"{self._folder}/{index}-error.json")
            return msgspec.json.decode(data, type=Answer).exception()
        except (StoreError, msgspec.DecodeError):
            return None

    def finished(self) -> tuple[set[int], set[int]]:
        """The indexes that have left results, and those of which a unit has left an error."""
        done: set[int] = set()
        failed: set[int] = set()
        for found in self.store.list(f"{self._folder}/"):
            name = found.key.rpartition("/")[2].removesuffix(".json")
            number, _, error = name.partition("-")
            if number.isdigit():
                (failed if error else done).add(int(number))
        return done, failed

    def forget_errors(self) -> None:
        """Remove what units have raised when this was tried before."""
        for index in self.finished()[1]:
            self.store.delete(f"{self._folder}/{index}-error.json")

    def _put(self, name: str, value: Any) -> None:
        self.store.write(f"{self._folder}/{name}.json", msgspec.json.encode(value))

    def _checked(self, data: bytes, digest: str) -> bytes:
        if _sha256(data) != digest:
            raise IntegrityError("the order is not the one that was given", where=self.key)
        return data


class PlacedOrder:
    """An order, seen by the client that has placed it: it reads the results out of the store.

    Equal units are executed once, and each of them gets the result.

    Args:
        store: Where the order is put.
        context: What workers need besides the units; see ``ship_code``.
        units: All units of the map.
        size: How many of them are one index.

    Attributes:
        order: The order.
        count: How many indexes it has.
    """

    def __init__(
        self, store: ArtifactStore, context: MapContext, units: Sequence[Unit], size: int
    ) -> None:
        self._wanted: dict[str, list[int]] = {}
        distinct = []
        for number, unit in enumerate(units):
            numbers = self._wanted.setdefault(unit.digest, [])
            if not numbers:
                distinct.append(unit)
            numbers.append(number)
        groups = [distinct[first : first + size] for first in range(0, len(distinct), size)]
        self._digests = [[unit.digest for unit in group] for group in groups]
        self._done: set[int] = set()
        # Another run that comes to the same units comes to the same order.
        self.order = WorkOrder.put(store, msgspec.structs.replace(context, run=None), groups)
        self.count = len(groups)
        self.order.forget_errors()

    @property
    def is_done(self) -> bool:
        """Whether all results have been given."""
        return not self._wanted

    def results(self) -> Iterator[tuple[int, Any]]:
        """Numbers and results of the units that were finished since this was asked last.

        Raises:
            ZenMLError: what a unit has raised, after the results that there are.
            StoreError: the store cannot be read.
        """
        finished, failed = self.order.finished()
        for index in sorted(finished - self._done):
            found = self.order.results(index)
            if found is None:
                continue  # only half of it is visible as yet
            self._done.add(index)
            for digest, result in zip(self._digests[index], found, strict=True):
                for number in self._wanted.pop(digest, ()):
                    yield number, result
        for index in sorted(failed):
            error = self.order.error(index)
            if error is not None:
                raise error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
