"""The record of a run: what is written, when, and how it is read back.

::

    runs/<run id>/run.json                 who started what, before anything runs
    runs/<run id>/log/0001-00000001.json   events, in batches, by attempt
    runs/<run id>/alive.json               a heartbeat while the engine works
    runs/<run id>/outcome.json             how it ended; written once

A run without an outcome is running while its heartbeat is fresh, and lost after that; it is never
taken for a success.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any, Literal

import msgspec

from zenml.core._canonical import canonical
from zenml.core._clock import now
from zenml.core.contracts._job import Cause, Failure, JobBackend
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import IntegrityError, ObjectNotFoundError, StoreError, ZenMLError
from zenml.core.jobs import read_request
from zenml.core.plan._model import Plan
from zenml.core.stores._first import write_first

__all__ = [
    "Cause",
    "Failure",
    "Outcome",
    "RunLog",
    "RunStarted",
    "RunStatus",
    "StepRecord",
    "StepStatus",
    "new_run_id",
    "now",
    "process_lives",
    "read_events",
    "read_outcome",
    "read_plan",
    "read_started",
    "run_ids",
    "status_of",
    "write_outcome",
]

StepStatus = Literal["running", "succeeded", "cached", "failed", "cancelled", "skipped"]
RunStatus = Literal["running", "succeeded", "failed", "cancelled", "lost"]

#: Seconds between heartbeats, and the age at which a run without one is lost. The clocks of two
#: machines may differ by less than their difference.
HEARTBEAT = 15.0
LOST_AFTER = 120.0


class RunStarted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``run.json``: written before anything runs.

    Attributes:
        run: The run's id.
        pipeline: The pipeline's name.
        plan: Digest of the plan.
        orchestrator: Type of the orchestrator.
        started: When, in UTC, ISO 8601.
        host: The machine that started it.
        pid: The process that started it.
        remote: Whether the plan runs in a job, which outlives that process.
        resumes: The run whose plan it takes up again, if it is not a run of its own.
    """

    run: str
    pipeline: str
    plan: str
    orchestrator: str
    started: str
    host: str
    pid: int
    remote: bool = False
    resumes: str = ""


class StepRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the log says of one step, when it starts and when it ends.

    Attributes:
        step: The step's name.
        status: How it stands.
        key: Its cache key.
        inputs: Input name to artifact digest, or a list of them.
        fingerprint: What its source looked like from outside, for steps that read one.
        outputs: Output name to artifact digest.
        started: When, in UTC, ISO 8601.
        seconds: How long it took.
        made_by: The run whose result was used, if it was not this one.
        failure: Why it failed.
    """

    step: str
    status: StepStatus
    key: str = ""
    inputs: dict[str, str | list[str]] = {}
    fingerprint: Any = None
    outputs: dict[str, str] = {}
    started: str = ""
    seconds: float = 0.0
    made_by: str = ""
    failure: Failure | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``outcome.json``: how a run ended.

    Attributes:
        status: succeeded, failed or cancelled.
        finished: When, in UTC, ISO 8601.
        seconds: How long the run took.
        counts: How many steps ended in which status.
        failure: The first failure.
    """

    status: RunStatus
    finished: str
    seconds: float
    counts: dict[str, int] = {}
    failure: Failure | None = None


def new_run_id() -> str:
    """A durable id; ids sort by the time at which they were made (microseconds, UTC)."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
    return f"{stamp}-{secrets.token_hex(3)}"


class RunLog:
    """Writes the record of one run. One engine writes it, from any of its threads.

    Events are written in batches, because one object per step would cost more than a small step. A
    batch that a killed engine did not write loses no result: a step's commit is its cache record.
    """

    #: A batch is written when it holds this many events, or is this old in seconds.
    _BATCH, _AGE = 512, 1.0

    def __init__(self, store: ArtifactStore, run_id: str, attempt: int = 1) -> None:
        self._store = store
        self._attempt = attempt
        self._run_id = run_id
        self._prefix = f"runs/{run_id}"
        self._lock = threading.Lock()
        self._events: list[StepRecord] = []
        self._oldest = 0.0
        self._batches = 0
        self._stop = threading.Event()
        self._pulse: threading.Thread | None = None

    def begin(self, started: RunStarted) -> None:
        """Write ``run.json``."""
        self._store.write(f"{self._prefix}/run.json", canonical(started))

    def append(self, record: StepRecord) -> None:
        """Add an event. Written at once if the batch is full or old."""
        with self._lock:
            if not self._events:
                self._oldest = time.monotonic()
            self._events.append(record)
            full = len(self._events) >= self._BATCH
            if full or time.monotonic() - self._oldest > self._AGE:
                self._write()

    def flush(self) -> None:
        """Write what is pending."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if not self._events:
            return
        self._batches += 1
        self._store.write(
            f"{self._prefix}/log/{self._attempt:04d}-{self._batches:08d}.json",
            canonical(self._events),
        )
        self._events = []

    def start_pulse(self) -> None:
        """Write a heartbeat now and then until the run is finished."""
        self._pulse = threading.Thread(target=self._beat, name="zenml-heartbeat", daemon=True)
        self._pulse.start()

    def _beat(self) -> None:
        # The first beat comes after one interval: run.json itself proves that the run was alive.
        while not self._stop.wait(HEARTBEAT):
            try:
                self.flush()
                self._store.write(f"{self._prefix}/alive.json", canonical({"at": now()}))
            except StoreError:
                continue  # the steps meet the same store and say so better

    def finish(self, outcome: Outcome) -> None:
        """Write what is pending, then the outcome, unless somebody else has written one."""
        self._stop.set()
        self.flush()
        write_outcome(self._store, self._run_id, outcome)

    def abandon(self) -> None:
        """Stop the heartbeat without an outcome."""
        self._stop.set()


# -- reading -------------------------------------------------------------------------------------


def run_ids(store: ArtifactStore, *, after: str | None = None) -> Iterator[str]:
    """Ids of the runs in a store, oldest first."""
    last = None
    start = f"runs/{after}0" if after else None
    for found in store.list("runs/", after=start):
        run_id = found.key.split("/")[1]
        if run_id not in (last, after):
            last = run_id
            yield run_id


def read_started(store: ArtifactStore, run_id: str) -> RunStarted:
    """Read ``run.json``. Raises ``ObjectNotFoundError``, or ``IntegrityError`` if it is damaged."""
    key = f"runs/{run_id}/run.json"
    try:
        return msgspec.json.decode(store.read(key), type=RunStarted)
    except ValueError as error:
        raise IntegrityError(
            f"the record of run {run_id} is damaged: {error}",
            where=f"{key} in {store.url}",
            remedy="run the pipeline again: finished steps are kept",
        ) from error


def read_plan(store: ArtifactStore, digest: str) -> Plan:
    """Read a plan back. Raises ``ObjectNotFoundError``, or ``IntegrityError`` if it is damaged."""
    key = f"plans/{digest}.json"
    data = store.read(key)
    with contextlib.suppress(ValueError):
        plan = msgspec.json.decode(data, type=Plan)
        if plan.digest == digest:
            return plan
    raise IntegrityError(
        "a stored plan is damaged: it is not what its digest says",
        where=f"{key} in {store.url}",
        remedy="run the pipeline again: that stores its plan anew, and finished steps are kept",
    )


def read_events(store: ArtifactStore, run_id: str) -> list[StepRecord]:
    """Every event of a run, in order.

    A damaged batch is left out: no result depends on the log, a step's commit is its cache record.
    """
    events: list[StepRecord] = []
    for found in store.list(f"runs/{run_id}/log/"):
        with contextlib.suppress(ValueError):
            events += msgspec.json.decode(store.read(found.key), type=list[StepRecord])
    return events


def read_outcome(store: ArtifactStore, run_id: str) -> Outcome | None:
    """How a run ended; None if nobody wrote that down, or nobody can read it any more."""
    try:
        return msgspec.json.decode(store.read(f"runs/{run_id}/outcome.json"), type=Outcome)
    except (ObjectNotFoundError, ValueError):
        return None


def write_outcome(store: ArtifactStore, run_id: str, outcome: Outcome) -> None:
    """Write down how a run ended, unless somebody has."""
    key = f"runs/{run_id}/outcome.json"
    write_first(store, key, outcome, lambda: read_outcome(store, run_id))


def status_of(store: ArtifactStore, started: RunStarted, outcome: Outcome | None) -> RunStatus:
    """How a run stands: its outcome, else running or lost by its signs of life."""
    if outcome is not None:
        return outcome.status
    here = started.host == socket.gethostname() and not started.remote
    if here and not process_lives(started.pid):
        return "lost"
    # Whatever is written about a run is a sign of its life.
    signs = {f.key: f.modified.timestamp() for f in store.list(f"runs/{started.run}/")}
    silence = time.time() - max(signs.values(), default=0.0)
    if silence > LOST_AFTER and started.remote:
        silence -= _waiting_allowed(store, started.run, signs)
    return "running" if silence < LOST_AFTER else "lost"


def _waiting_allowed(store: ArtifactStore, run_id: str, signs: Iterable[str]) -> float:
    """Seconds for which a plan's job may be silent because it waits for a place to run."""
    folder = f"runs/{run_id}/jobs/plan"
    tasks = (key for key in signs if key.startswith(f"{folder}/") and key.endswith("/task.json"))
    latest = max((key.rpartition("/")[0] for key in tasks), key=_number, default=folder)
    has_begun = {f"{latest}/alive.json", f"{latest}/outcome.json"} & set(signs)
    if has_begun or latest == folder:
        return 0.0
    try:
        given = read_request(store, folder).backend.args
    except (ZenMLError, ValueError):
        return 0.0
    return float(given.get("pending_timeout", JobBackend.pending_timeout))


def _number(folder: str) -> int:
    return int(folder.rpartition("/")[2])


def process_lives(pid: int) -> bool:
    """Whether this machine has a process of that id; in doubt, it has."""
    if sys.platform == "win32":
        return True  # os.kill(pid, 0) ends a process there; the heartbeat decides instead
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/stat") as file:
        # Ended, and its parent has not looked: in a container without an init, nobody ever may.
        return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    return True
