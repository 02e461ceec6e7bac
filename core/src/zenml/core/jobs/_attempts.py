"""What the store holds about a job and its attempts, and under which keys.

::

    runs/<run>/jobs/<job>/request.json               what was asked for; the same for every attempt
    runs/<run>/jobs/<job>/<attempt>/task.json        what the runner is told
    runs/<run>/jobs/<job>/<attempt>/handle.json      how the service finds the attempt again
    runs/<run>/jobs/<job>/<attempt>/alive.json       the runner's sign of life
    runs/<run>/jobs/<job>/<attempt>/log-*.txt        the log, in chunks
    runs/<run>/jobs/<job>/<attempt>/outcome.json     how the attempt ended; written once
    runs/<run>/jobs/<job>/<attempt>/cleaned.json     nothing of it is left with the service
    runs/<run>/jobs/<job>/<attempt>/unknown.json     the service has no job of its name
    runs/<run>/cancel.json                           somebody, somewhere, cancelled the run

An attempt that has an outcome is closed: a runner that finds one at its start does nothing, and one
that finds it later ends. So an attempt can be ended by whoever reaches the store, also one whose
submission nobody can confirm.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable

import msgspec

from zenml.core._canonical import canonical
from zenml.core._clock import now
from zenml.core.contracts._backend import BackendConfig
from zenml.core.contracts._job import Failure, Handle
from zenml.core.contracts._store import ArtifactStore, StoredObject, safe_segment
from zenml.core.errors import IntegrityError, ObjectNotFoundError, ZenMLError
from zenml.core.jobs._task import JobOutcome, Task, write_outcome
from zenml.core.sources import GitState
from zenml.core.stores._first import write_first

__all__ = [
    "CancelLook",
    "JobRequest",
    "attempts_of",
    "cancel_requested",
    "is_cleaned",
    "job_folder",
    "job_folders",
    "job_name",
    "mark_cleaned",
    "mark_unknown",
    "open_attempts",
    "read_handle",
    "read_request",
    "read_task_key",
    "request_cancel",
    "settle",
    "store_handle",
]


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``request.json``: a job, independent of attempts.

    Attributes:
        kind: orchestrator or training. A step's job may be of either.
        backend: The backend that carries it.
        pipeline: The pipeline's name.
        task: What to do.
        git: The commit that the task's code was at, and whether tracked files differed from it.
    """

    kind: str
    backend: BackendConfig
    pipeline: str
    task: Task
    git: GitState | None = None


def job_folder(run: str, step: str | None) -> str:
    """Where everything about a job is."""
    return f"runs/{run}/jobs/{'plan' if step is None else 'step.' + safe_segment(step)}"


def job_name(run: str, step: str | None, attempt: int) -> str:
    """A name that no other attempt has: at most 63 lower-case letters, digits and ``-``."""
    # The run's id ends in what makes it unique; a step's segment does too.
    parts = ["zenml", run.replace("-", "")[-22:]]
    if step is not None:
        parts.append(safe_segment(step, limit=12))
    return "-".join([*parts, str(attempt)])


def job_folders(store: ArtifactStore, run: str) -> list[str]:
    """Folders of the jobs of a run, in the order of their names."""
    return [
        found.key.removesuffix("/request.json")
        for found in store.list(f"runs/{run}/jobs/")
        if found.key.endswith("/request.json")
    ]


def open_attempts(objects: Iterable[StoredObject]) -> list[str]:
    """Folders of the attempts at jobs that may have left something with their service."""
    names: dict[str, set[str]] = {}
    for found in objects:
        folder, _, name = found.key.rpartition("/")
        if folder.count("/") == 4 and folder.split("/")[2] == "jobs":
            names.setdefault(folder, set()).add(name)
    return [folder for folder, there in names.items() if _is_open(there)]


def _is_open(there: set[str]) -> bool:
    """Whether that may be so of an attempt whose folder holds files of these names."""
    if "handle.json" in there:  # also if the service once knew nothing: it may have come later
        return "cleaned.json" not in there
    return "task.json" in there and "unknown.json" not in there


def read_request(store: ArtifactStore, folder: str) -> JobRequest:
    """What was asked for. Raises ``ZenMLError`` if nothing was, or nobody can read it."""
    key = f"{folder}/request.json"
    try:
        return msgspec.json.decode(store.read(key), type=JobRequest)
    except ObjectNotFoundError as error:
        raise ZenMLError("there is no such job", where=folder) from error
    except ValueError as error:
        raise IntegrityError(
            f"the record of a job is damaged: {error}",
            where=f"{key} in {store.url}",
            remedy="run the pipeline again: finished steps are kept",
        ) from error


def attempts_of(store: ArtifactStore, folder: str) -> list[int]:
    """Numbers of the attempts at a job that were begun, in order."""
    return sorted(
        int(found.key.split("/")[-2])
        for found in store.list(f"{folder}/")
        if found.key.endswith("/task.json")
    )


def read_task_key(store: ArtifactStore, attempt: str) -> str | None:
    """The key of the step that an attempt works at; None if its task cannot be read."""
    with contextlib.suppress(ObjectNotFoundError, ValueError):
        return msgspec.json.decode(store.read(f"{attempt}/task.json"), type=Task).key
    return None


def read_handle(store: ArtifactStore, attempt: str) -> Handle | None:
    """How to find an attempt again; None if its submission was never confirmed, or is illegible."""
    with contextlib.suppress(ObjectNotFoundError, ValueError):
        return msgspec.json.decode(store.read(f"{attempt}/handle.json"), type=Handle)
    return None


def store_handle(store: ArtifactStore, attempt: str, handle: Handle) -> Handle:
    """Store a handle; returns the one that counts, which is another client's if it was first."""
    key = f"{attempt}/handle.json"
    return write_first(store, key, handle, lambda: read_handle(store, attempt))


def settle(
    store: ArtifactStore, attempt: str, failure: Failure, *, seconds: float = 0.0
) -> JobOutcome:
    """Write down how an attempt ended that says nothing itself; returns the outcome that counts.

    Whoever wrote one first is right, the runner above all.
    """
    outcome = JobOutcome(
        status="failed",
        attempt=int(attempt.rpartition("/")[2]),
        failure=failure,
        finished=now(),
        seconds=round(seconds, 3),
        by="client",
    )
    return write_outcome(store, attempt, outcome)


def is_cleaned(store: ArtifactStore, attempt: str) -> bool:
    """Whether nothing of an attempt is left with the service."""
    return store.exists(f"{attempt}/cleaned.json")


def mark_cleaned(store: ArtifactStore, attempt: str) -> None:
    """Write that down, so that nobody asks the service about it again."""
    store.write_if_absent(f"{attempt}/cleaned.json", canonical({"at": now()}))


def mark_unknown(store: ArtifactStore, attempt: str) -> None:
    """Write down that the service has no job of its name; a handle that comes later counts more."""
    store.write_if_absent(f"{attempt}/unknown.json", canonical({"at": now()}))


def request_cancel(store: ArtifactStore, run: str) -> None:
    """Ask everything that works for a run, wherever it is, to end."""
    store.write_if_absent(f"runs/{run}/cancel.json", canonical({"at": now()}))


class CancelLook:
    """Whether somebody has asked for that, as many waiters ask who look no more than once a second.

    Args:
        store: Holds the request.
        run: The run's id.
    """

    _EVERY = 1.0

    def __init__(self, store: ArtifactStore, run: str) -> None:
        self._store = store
        self._run = run
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._asked = False

    def __call__(self) -> bool:
        """Whether it is known to be asked for. Raises what the store raises, to one of them."""
        if self._lock.acquire(blocking=False):  # else somebody is looking
            try:
                if time.monotonic() - self._at >= self._EVERY and not self._asked:
                    self._at = time.monotonic()
                    self._asked = cancel_requested(self._store, self._run)
            finally:
                self._lock.release()
        return self._asked


def cancel_requested(store: ArtifactStore, run: str) -> bool:
    """Whether somebody, somewhere, has asked for that."""
    return any(store.list(f"runs/{run}/cancel.json"))
