"""What the suite of processing backends puts to a backend: maps that are read under a deadline."""

from __future__ import annotations

import json
import subprocess
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from zenml.core._canonical import sha256
from zenml.core.contracts._backend import ProcessingBackend
from zenml.core.contracts._store import ArtifactStore
from zenml.core.contracts._units import MapContext, Unit
from zenml.core.engine._run import Run
from zenml.core.sources import reference
from zenml.core.stores._open import open_store
from zenml.core.testing._user_project import UserProject, said_by
from zenml.pipelines import Pipeline

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MapBench", "Reading"]

#: The step that all units claim to belong to; messages may name it.
STEP = "conformance"


class Reading:
    """A map, read in a thread of its own: one that hangs fails its case and not the session.

    One thread makes every call, as an engine's does. Leaving the block closes the iterator.

    Args:
        call: Calls ``map()``.
        patience: Seconds that a result, or ``close()``, may take.
    """

    def __init__(self, call: Callable[[], Iterator[tuple[int, Any]]], patience: float) -> None:
        self._patience = patience
        self._orders: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="conformance", daemon=True)
        self._thread.start()
        self._hangs = False
        self._returned = self._do("map()", call)
        self._iterator = iter(self._returned)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._hangs:
            return  # and nobody waits for it any more
        if hasattr(self._returned, "close"):
            self.close()
        self._orders.put(None)
        self._thread.join()

    def take(self) -> tuple[int, Any] | None:
        """The next result; None at the end. Raises what the map raised."""
        found: tuple[int, Any] | None = self._do("a result", lambda: next(self._iterator, None))
        return found

    def rest(self) -> list[tuple[int, Any]]:
        """All results that are left."""
        found = []
        while (result := self.take()) is not None:
            found.append(result)
        return found

    def close(self) -> None:
        """Close the iterator."""
        assert hasattr(self._returned, "close"), (
            f"map() returned a {type(self._returned).__name__}, which has no close(): closing the "
            "iterator is how a map is cancelled; a generator has it"
        )
        self._do("close()", self._returned.close)

    def _do(self, what: str, call: Callable[[], Any]) -> Any:
        self._orders.put(call)
        try:
            found, error = self._answers.get(timeout=self._patience)
        except Empty:
            self._hangs = True
            pytest.fail(f"{what} took longer than {self._patience:g} seconds")
        if error is not None:
            raise error
        return found

    def _serve(self) -> None:
        while (call := self._orders.get()) is not None:
            try:
                self._answers.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                self._answers.put((None, error))


class MapBench:
    """Puts units to a backend, and looks at what comes of them.

    Args:
        backend: What is tested.
        project: Where the units' code is.
        store_url: Where everything goes.
        patience: Seconds that anything may take.
    """

    def __init__(
        self, backend: ProcessingBackend, project: UserProject, store_url: str, patience: float
    ) -> None:
        self.backend = backend
        self.project = project
        self.store: ArtifactStore = open_store(store_url)
        self.store.prepare()
        self.patience = patience

    # -- maps ------------------------------------------------------------------------------------

    def units(self, name: str, payloads: Iterable[Any]) -> list[Unit]:
        """Units of a function of the user's module."""
        function = reference(getattr(self.project.code, name))
        code = sha256(self.project.file.read_bytes())
        return [Unit(function, payload, code) for payload in payloads]

    def units_with_marks(self, name: str, count: int, marks: str, **payload: Any) -> list[Unit]:
        """Numbered units that are told where the store is, and where to leave marks in it."""
        given = {"store": self.store.url, "marks": marks, "first": f"{marks}-first", **payload}
        return self.units(name, [{"number": number, **given} for number in range(count)])

    def context(self, *roots: str) -> MapContext:
        """A context of its own for a map; units are imported from ``roots``, or the project."""
        return MapContext(
            store=self.store.url,
            scope=f"units/{uuid.uuid4().hex}",
            step=STEP,
            import_roots=roots or (str(self.project.folder),),
        )

    def read(self, units: Sequence[Unit], context: MapContext | None = None) -> Reading:
        """Begin to read a map."""
        there = context or self.context()
        return Reading(lambda: self.backend.map(units, there), self.patience)

    def results(
        self, units: Sequence[Unit], context: MapContext | None = None
    ) -> list[tuple[int, Any]]:
        """Read a whole map. Raises what it raised."""
        with self.read(units, context) as reading:
            return reading.rest()

    def by_index(self, units: Sequence[Unit], context: MapContext | None = None) -> list[Any]:
        """The results of a whole map in the order of its units; each has to come once."""
        found = self.results(units, context)
        indices = sorted(index for index, _ in found)
        assert indices == [*range(len(units))], _wrong_indices(indices, len(units))
        return [result for _, result in sorted(found, key=lambda pair: pair[0])]

    def failure(self, units: Sequence[Unit], context: MapContext | None = None) -> BaseException:
        """What a map raises, which has to raise something."""
        with self.read(units, context) as reading:
            try:
                found = reading.rest()
            except pytest.fail.Exception:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever it is, a case looks at it
                return error
        return pytest.fail(f"the map came to its end and gave {len(found)} results")

    def marks(self, prefix: str) -> int:
        """How many units have begun that leave their marks there."""
        return sum(1 for _ in self.store.list(f"{prefix}/"))

    # -- pipelines -------------------------------------------------------------------------------

    def run(self, backend: ProcessingBackend, store: ArtifactStore) -> Run:
        """Run a pipeline of one step, whose work ``backend`` spreads."""
        made = Pipeline("conformance")
        made.add_step(self.project.code.spread(count=7))
        backends = [self.project.code.Here(), backend]
        return made.run(backends=backends, artifact_store=store, progress=False)

    # -- clients of their own --------------------------------------------------------------------

    def client(self, units: Sequence[Unit], context: MapContext) -> subprocess.Popen[str]:
        """Start a process that reads a map of the same backend, made anew from its parameters.

        It prints ``[index, result]`` for each result, and ``"interrupted"`` if Ctrl-C ends it.
        """
        return self.project.start_client(
            "zenml.core.testing._map_client",
            self.backend,
            units=msgspec.to_builtins(units),
            context=msgspec.to_builtins(context),
        )

    def said(self, client: subprocess.Popen[str]) -> list[Any]:
        """Wait for such a process; returns what it printed, line by line."""
        output, errors = said_by(client, self.patience)
        assert client.returncode == 0, f"a map in a process of its own failed: {errors.strip()}"
        return [json.loads(line) for line in output.splitlines() if line[:1] in '["']


def _wrong_indices(found: list[int], count: int) -> str:
    lost = sorted(set(range(count)) - set(found))[:5]
    surplus = sorted((Counter(found) - Counter(range(count))).keys())[:5]
    return (
        f"{count} units gave {len(found)} results: none for {lost}, too many for {surplus}; every "
        "unit is answered once, under its own index"
    )
