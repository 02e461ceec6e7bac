"""Maps: an order in the store, a job whose tasks carry it out, and results as its tasks are done.

Spark is told the order's place and as many numbers as it has indexes; the store is looked at when
tasks have ended.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from zenml.core import MapContext, PlacedOrder, Unit, open_store, ship_code
from zenml.core.errors import RunError
from zenml.spark._application import Application, is_local

if TYPE_CHECKING:
    from zenml.spark.processing import ProcessingSparkBackend

__all__ = ["map_units", "see_master", "translated"]

#: Tasks for each core, one after the other, and at most so many altogether.
_TASKS_PER_CORE: Final = 8
_MOST_TASKS: Final = 4000

#: Seconds between two looks at the store: at first, and when many tasks have ended.
_LOOK_FIRST, _LOOK_LATER = 0.05, 1.0

#: Seconds that a driver without a word may take to start; a JVM on a busy machine takes some.
_STARTED_WITHIN: Final = 300.0

_BUSY: Final = (
    "the cluster has no free cores or memory for it: start workers, ask for less (conf "
    "'spark.executor.memory', 'spark.cores.max'), or raise pending_timeout="
)
_KEPT: Final = "run again: finished units are kept"
_MASTER_LOG: Final = "the master's log may say why; its version of Spark has to be the same"
_NEEDS: Final = (
    "the workers' Python needs zenml-spark as it is here, and what the units import; python= names "
    "another one"
)


def map_units(
    backend: ProcessingSparkBackend, units: Sequence[Unit], context: MapContext
) -> Iterator[tuple[int, Any]]:
    """See ``ProcessingBackend.map``."""
    if not units:
        return
    if not is_local(backend.master):
        see_master(backend.master)
        context = ship_code(context)
    with Application(backend, f"zenml: {context.step}") as application:
        yield from _Map(backend, units, context, application).results()


def see_master(master: str) -> str:
    """Connect to a standalone cluster's master; returns the one that answers.

    Other masters are Spark's business.

    Raises:
        RunError: none of them is there.
    """
    if not master.startswith("spark://"):
        return master
    said = ""
    for place in master.removeprefix("spark://").split(","):
        host, _, port = place.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            said = f"{host}:{port}: {error}"
        else:
            return f"spark://{place}"
    raise _error(
        f"no Spark master answers: {said}",
        master,
        "INFRA",
        "start one, or correct master=; its log and its page say the URL",
    )


class _Map:
    def __init__(
        self,
        backend: ProcessingSparkBackend,
        units: Sequence[Unit],
        context: MapContext,
        application: Application,
    ) -> None:
        self._backend = backend
        self._units = units
        self._context = context
        self._application = application
        self._where = f"step '{context.step}' ({backend.master})"
        self._ran = time.monotonic()

    def results(self) -> Iterator[tuple[int, Any]]:
        cores = self._wait_for_cores()
        size = self._backend.units_per_task or self._size(cores)
        store = open_store(self._context.store)
        placed = PlacedOrder(store, self._context, self._units, size)
        order = {
            "store": self._context.store,
            "key": placed.order.key,
            "digest": placed.order.digest,
            "count": placed.count,
            "description": f"{len(self._units)} units of {self._context.step}",
        }
        self._application.tell(order)
        yield from self._follow(placed)

    def _size(self, cores: int) -> int:
        tasks = min(_TASKS_PER_CORE * cores, _MOST_TASKS)
        return -(-len(self._units) // tasks)

    def _wait_for_cores(self) -> int:
        begun = False
        while True:
            for event in self._events(1.0):
                if "ended" in event:
                    self._fail(event["ended"])
                if "application" in event:
                    self._where = f"{self._where[:-1]}, {event['application']})"
                    self._ran, begun = time.monotonic(), True
                if "cores" in event:
                    if event["executors"]:
                        self._ran = time.monotonic()
                    return int(event["cores"])
            if begun:
                self._see_whether_it_waits_in_vain()
            elif time.monotonic() - self._ran > _STARTED_WITHIN:
                limit = f"{_STARTED_WITHIN:g} s"
                self._raise(f"Spark made no application within {limit}", "INFRA", _MASTER_LOG)

    def _follow(self, placed: PlacedOrder) -> Iterator[tuple[int, Any]]:
        active, ended, dirty, urgent = 0, False, False, False
        pause, words, looked = _LOOK_FIRST, None, 0.0
        while True:
            wait = max(looked + pause - time.monotonic(), 0) if dirty else 1.0
            for event in self._events(wait):
                active = event.get("active", active)
                dirty |= "done" in event
                urgent |= "raised" in event
                if "ended" in event:
                    ended, words = True, event["ended"]
            now = time.monotonic()
            if active:
                self._ran = now
            if urgent or ended or (dirty and now - looked >= pause):
                for found in placed.results():
                    yield found
                    self._ran = time.monotonic()
                if placed.is_done:
                    return
                pause, dirty = min(pause * 1.5, _LOOK_LATER), False
                looked = time.monotonic()
            if ended and urgent:
                self._raise("a unit of work raised, and could not say what: the store refused it")
            if ended:
                self._fail(words)
            self._see_whether_it_waits_in_vain()

    def _see_whether_it_waits_in_vain(self) -> None:
        limit = self._backend.pending_timeout
        if time.monotonic() - self._ran > limit:
            self._raise(f"no task ran within {limit:g} s", "UNSCHEDULABLE", _BUSY)

    def _events(self, seconds: float) -> list[dict[str, Any]]:
        events = self._application.events(seconds)
        if events is not None:
            return events
        code = self._application.exit_code
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise _error(f"Spark's driver ended, with {how}", self._where, "LOST", _KEPT)

    def _fail(self, words: str | None) -> NoReturn:
        if words is None:
            self._raise("Spark's job is done, and has left results out", "LOST")
        raise _error(*translated(words, self._where))

    def _raise(self, message: str, cause: str | None = None, remedy: str = _KEPT) -> NoReturn:
        raise _error(message, self._where, cause, remedy)


_FAILED = re.compile(r"failed (\d+) times?, most recent failure: (.+)", re.DOTALL)
_LAST_OF_PYTHON = re.compile(r"^((?:\w+\.)*\w+(?:Error|Exception|Interrupt)\b.*)$", re.MULTILINE)
_ENDED = re.compile(
    r"Python worker exited unexpectedly|ExecutorLostFailure|Python worker failed to connect back"
)


def translated(words: str, where: str) -> tuple[str, str, str | None, str]:
    """What Spark says of a job's failure as message, place, cause and remedy."""
    first = words.strip().splitlines()[0]
    found = _FAILED.search(words)
    said = found[2] if found else words
    if "JAVA_GATEWAY_EXITED" in words:
        return (
            "Spark's JVM does not start",
            where,
            "CONFIG",
            "see above for what it printed; Spark 4 needs Java 17 or 21, on PATH or by JAVA_HOME",
        )
    if "OutOfMemoryError" in said:
        return (
            f"Spark ran out of memory: {_line(said)}",
            where,
            "OOM",
            "more memory ('spark.executor.memory', 'spark.driver.memory'), or fewer units_per_task",
        )
    if "Cannot run program" in said or "PYTHON_VERSION_MISMATCH" in said:
        return f"Spark's workers cannot start Python: {_line(said)}", where, "CONFIG", _NEEDS
    if _ENDED.search(said):
        times = f"{found[1]} times" if found and found[1] != "1" else "once"
        reason = re.search(r"Reason: ([^\n]+)", said)
        return (
            f"a unit of work ended its worker process {times}"
            + (f" ({reason[1].strip()})" if reason else ""),
            where,
            None,
            "run the step with a local processing backend to see it fail here",
        )
    if "No module named 'zenml" in said or "PackageNotFoundError" in said:
        return (
            f"Spark's workers have no zenml-spark: {_line(said)}",
            where,
            "CONFIG",
            _NEEDS,
        )
    if "StoreUnavailableError" in said:
        return f"the workers cannot reach the store: {_line(said)}", where, "INFRA", _KEPT
    if re.search(r"unresponsive|SparkContext was shut down|SparkContext has been shut", words):
        return f"Spark's application ended: {first}", where, "LOST", _KEPT
    if re.search(r"\bKILLED\b|killed via|cancelled", words):
        return f"the job was cancelled in Spark: {first}", where, "CANCELLED", _KEPT
    remedy = "the logs of Spark's workers may say more"
    return f"Spark's job failed: {_line(said)}", where, None, remedy


def _line(said: str) -> str:
    """The line that says what went wrong: Python's last one, or the first."""
    found = _LAST_OF_PYTHON.findall(said)
    return found[-1].strip() if found else said.strip().splitlines()[0]


def _error(message: str, where: str, cause: str | None, remedy: str) -> RunError:
    error = RunError(message, where=where, remedy=remedy)
    error.cause = cause
    return error
