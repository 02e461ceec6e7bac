"""What a remote environment is told to do, and how it answers. Both are objects in the store."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import msgspec

from zenml.core._canonical import canonical, sha256
from zenml.core.contracts._job import Cause, Failure
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import IntegrityError, ObjectNotFoundError
from zenml.core.stores._first import write_first

__all__ = [
    "EXIT_CODES",
    "PROTOCOL",
    "JobOutcome",
    "Task",
    "exit_code",
    "read_outcome",
    "read_task",
    "write_outcome",
    "write_task",
]

#: Version of the conversation between a client and a runner.
PROTOCOL = 1

#: Exit codes of the runner, by cause, so that a service's own rules can tell them apart: what the
#: user's code or configuration did must not be tried again. 0 is success.
EXIT_CODES: dict[Cause, int] = {
    "USER_ERROR": 64,
    "CONFIG": 65,
    "TIMEOUT": 66,
    "CANCELLED": 67,
    "OOM": 68,
    "PREEMPTED": 69,
    "INFRA": 70,
}


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """``task.json``: everything that a runner needs to know.

    Attributes:
        protocol: Version of this conversation.
        core: Version of the client's zenml-core.
        run: The run's id.
        plan: Digest of the plan.
        step: The step to run; None for the whole plan.
        inputs: For a step: input name to artifact digest, or a list of them.
        key: For a step: its cache key.
        code: Digest of the code bundle; None if all code is installed there.
        requires: Distributions that the plan's code needs, with their versions.
        max_parallel_steps: For a plan: how many steps may run at once.
        steps_as_jobs: For a plan: whether its orchestrator has a job for each step.
        own_backend: For a step: whether a trainer's own backend is to train it there. Not in the
            job that this backend itself has asked for.
        timeout: Seconds after which the runner ends its work.
        grace: Seconds between asking the work to end and ending it.
    """

    protocol: int = PROTOCOL
    core: str
    run: str
    plan: str
    step: str | None = None
    inputs: dict[str, str | list[str]] = {}
    key: str = ""
    code: str | None = None
    requires: dict[str, str] = {}
    max_parallel_steps: int | None = None
    steps_as_jobs: bool = False
    own_backend: bool = False
    timeout: float | None = None
    grace: float = 10.0


class JobOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``outcome.json`` of one attempt: how it ended. Written once, by whoever knows first.

    Attributes:
        status: succeeded or failed.
        attempt: Which attempt.
        failure: Why it failed.
        exit_code: The child's exit code, negative for a signal, if there was a child.
        finished: When, in UTC, ISO 8601, by the clock of whoever wrote it.
        seconds: How long it took.
        by: ``runner``, or ``client`` if the attempt left no outcome of its own.
    """

    status: Literal["succeeded", "failed"]
    attempt: int
    failure: Failure | None = None
    exit_code: int | None = None
    finished: str
    seconds: float = 0.0
    by: Literal["runner", "client"] = "runner"


def exit_code(outcome: JobOutcome) -> int:
    """The runner's own exit code for an outcome."""
    if outcome.failure is None:
        return 0
    return EXIT_CODES.get(outcome.failure.cause, EXIT_CODES["INFRA"])


def write_task(store: ArtifactStore, folder: str, task: Task) -> str:
    """Store a task unless one is there; returns the digest of the one that is there then.

    It is never replaced: a runner may have been told its digest already.
    """
    key, data = f"{folder}/task.json", canonical(task)
    if not store.write_if_absent(key, data):
        data = store.read(key)
    return sha256(data)


def read_task(store: ArtifactStore, key: str, digest: str) -> dict[str, Any]:
    """Read a task as plain data: its version has to be looked at before the rest of it.

    Raises:
        IntegrityError: it is not the task of that digest.
    """
    data = store.read(key)
    if sha256(data) != digest:
        raise IntegrityError("the task is not the one that was submitted", where=key)
    task: dict[str, Any] = msgspec.json.decode(data)
    return task


def read_outcome(store: ArtifactStore, folder: str) -> JobOutcome | None:
    """How an attempt ended; None while nobody has written that down, or nobody can read it."""
    with contextlib.suppress(ObjectNotFoundError, ValueError):
        return msgspec.json.decode(store.read(f"{folder}/outcome.json"), type=JobOutcome)
    return None


def write_outcome(store: ArtifactStore, folder: str, outcome: JobOutcome) -> JobOutcome:
    """Write down how an attempt ended, unless somebody has; returns the outcome that counts."""
    key = f"{folder}/outcome.json"
    return write_first(store, key, outcome, lambda: read_outcome(store, folder))
