"""Maps: an order in the store, a pipeline that carries it out, and results as they come there."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from zenml.beam._check import check_engine
from zenml.beam._driver import Job, Outcome
from zenml.beam._process import Driver
from zenml.core import MapContext, PlacedOrder, Unit, open_store, ship_code
from zenml.core.errors import RunError, StoreUnavailableError

if TYPE_CHECKING:
    from zenml.beam.processing import ProcessingBeamBackend

__all__ = ["map_units"]

#: Elements of a pipeline: enough for the workers of a large cluster to be busy to the end.
_MOST_TASKS: Final = 1000

#: Seconds between two looks at the store: at first, and at last.
_SOON: Final = 0.05
_LATE: Final = 1.0

#: Seconds between a pipeline that failed and the next.
_AGAIN_AFTER: Final = 1.0

#: Seconds that a pipeline whose work is done may take to say so.
_WIND_UP: Final = 10.0

_NEEDS: Final = "workers need zenml-beam and zenml-core as they are here, and what units import"

_LOCALLY: Final = "run the step with a local processing backend to see it fail here"

_EXCEPTION: Final = re.compile(r"[A-Za-z_][\w.]*: ")

_log = logging.getLogger(__name__)


def map_units(
    backend: ProcessingBeamBackend, units: Sequence[Unit], context: MapContext
) -> Iterator[tuple[int, Any]]:
    """See ``ProcessingBackend.map``."""
    if units:
        _see_engine(backend, context)
        yield from _Map(backend, units, context).results()


class _Map:
    def __init__(
        self, backend: ProcessingBeamBackend, units: Sequence[Unit], context: MapContext
    ) -> None:
        self._backend = backend
        self._units = units
        self._context = ship_code(context) if _works_elsewhere(backend) else context
        self._store = open_store(context.store)
        self._left = [*range(len(units))]

    def results(self) -> Iterator[tuple[int, Any]]:
        failures = 0
        while True:
            before = len(self._left)
            outcome = yield from self._run()
            if not self._left:
                return
            failures = failures + 1 if len(self._left) == before else 1
            error = self._error(outcome, failures)
            if failures > self._backend.retries or error.cause == "CANCELLED":
                raise error
            _log.warning("%s; it is tried again", error)
            time.sleep(_AGAIN_AFTER)

    def _run(self) -> Generator[tuple[int, Any], None, Outcome | int | None]:
        """One pipeline for all units that are left; returns how it ended."""
        numbers = self._left
        size = self._backend.units_per_task or math.ceil(len(numbers) / _MOST_TASKS)
        with contextlib.closing(Driver()) as driver:
            wanted = [self._units[number] for number in numbers]
            placed = PlacedOrder(self._store, self._context, wanted, size)
            options = {"runner": self._backend.runner, **self._backend.options}
            order = placed.order
            driver.send(Job(options, self._context.store, order.key, order.digest, placed.count))
            driver.ready.wait()
            left, pause, outcome = set(numbers), _SOON, None
            while outcome is None and left:
                outcome = driver.wait(pause)
                pause = min(pause * 1.5, _LATE)
                try:
                    for place, result in placed.results():
                        left.discard(numbers[place])
                        yield numbers[place], result
                except StoreUnavailableError:
                    # Workers go on when it is there again; if they cannot, their pipeline fails.
                    if isinstance(outcome, Outcome) and outcome.state == "DONE":
                        raise
            if outcome is None:
                outcome = driver.wait(_WIND_UP)
        self._left = sorted(left)
        if isinstance(outcome, Outcome):
            step, counted = self._context.step, outcome.counters
            _log.info(
                "step '%s': pipeline %s, its workers counted %s", step, outcome.state, counted
            )
        return outcome

    def _error(self, outcome: Outcome | int | None, failures: int) -> RunError:
        """Why there are units left."""
        times = "once" if failures == 1 else f"{failures} times"
        ended = f"a unit of work ended its worker process {times}"
        message, remedy, cause = "", "run again: finished units are kept", None
        if isinstance(outcome, int):
            message = f"{ended} ({_how(outcome)})"
            remedy = _LOCALLY
        elif outcome is None or outcome.state == "DONE":
            message = "the Beam pipeline ended, and not all units have left their results"
        elif outcome.state == "CANCELLED":
            message, cause = "somebody has cancelled the Beam pipeline", "CANCELLED"
        else:
            said = _last_words(outcome.message)
            message = f"the Beam pipeline failed {times}: {said}"
            if "worker disconnected" in said:
                message, remedy = f"{ended}: {said}", _LOCALLY
            elif "ModuleNotFoundError" in said:
                remedy, cause = _NEEDS, "CONFIG"
            elif "StoreUnavailableError" in said:
                cause = "INFRA"
        unit = self._units[self._left[0]]
        where = f"{unit.function} in step '{self._context.step}'"
        error = RunError(message, where=where, remedy=remedy)
        error.cause = cause
        return error


def _see_engine(backend: ProcessingBeamBackend, context: MapContext) -> None:
    """Raise ``RunError`` if what the runner needs is not there, for which Beam waits minutes."""
    found = check_engine(backend)
    if found is not None and not found.ok:
        where = f"step '{context.step}' ({backend.runner})"
        error = RunError(f"{found.name} {found.detail}", where=where, remedy=found.remedy)
        error.cause = "CONFIG" if backend.runner == "PrismRunner" else "INFRA"
        raise error


def _last_words(text: str) -> str:
    """The exception that a text ends with, which may hold several tracebacks."""
    lines = text.strip().splitlines()
    first = max((n for n, line in enumerate(lines) if _EXCEPTION.match(line)), default=-1)
    words = " ".join(" ".join(lines[first:]).split()).partition(" [while running '")[0]
    return words.removeprefix("RuntimeError: ")


def _how(code: int) -> str:
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"exit code {code}"


def _works_elsewhere(backend: ProcessingBeamBackend) -> bool:
    """Whether workers do not see the folders that the client sees."""
    usual = {"PrismRunner": "LOOPBACK", "PortableRunner": "DOCKER"}.get(backend.runner, "LOOPBACK")
    return backend.options.get("environment_type", usual) != "LOOPBACK"
