"""Plans and trainer steps as jobs: from the engine's side of the fence to the jobs' side."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

import msgspec

from zenml.core._backends import make_backend
from zenml.core._canonical import from_json
from zenml.core._clock import now
from zenml.core._project import find_root
from zenml.core.contracts._backend import BackendConfig
from zenml.core.contracts._job import Failure, JobBackend
from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._keys import Inputs
from zenml.core.engine._records import (
    Outcome,
    RunLog,
    RunStatus,
    StepRecord,
    read_events,
    read_outcome,
    read_started,
)
from zenml.core.errors import (
    ConfigurationError,
    Problem,
    RunCancelledError,
    RunError,
    StepFailedError,
)
from zenml.core.jobs import JobFailedError, JobRequest, JobRun, job_folders
from zenml.core.jobs._lifecycle import read_request
from zenml.core.jobs._task import Task
from zenml.core.plan._model import Plan
from zenml.core.plugins._registry import Registry

__all__ = [
    "attach",
    "job_from_store",
    "job_of_run",
    "make_task",
    "see_plan_through",
    "step_request",
    "wait_for",
]

#: Told of every step as it starts and ends.
Observer = Callable[[StepRecord], None]


def make_task(
    plan: Plan, store: ArtifactStore, registry: Registry, run_id: str, backend: JobBackend
) -> Task:
    """What a runner is told to do for a plan; stores the code that it needs.

    Raises:
        ConfigurationError: the code cannot be sent; says every reason.
    """
    from zenml.core.bundle import required_distributions, store_bundle

    outside = [root for root in plan.import_roots if os.path.isabs(root)]
    if outside:
        raise ConfigurationError(
            "the code cannot be sent elsewhere",
            [
                Problem(root, "is outside the repository", "move it inside, or install it")
                for root in outside
            ],
        )
    bundle = store_bundle(store, find_root())
    return Task(
        core=metadata.version("zenml-core"),
        run=run_id,
        plan=plan.digest,
        code=bundle.digest,
        requires=required_distributions(plan, registry),
        timeout=backend.timeout,
    )


def step_request(
    plan: Plan,
    store: ArtifactStore,
    registry: Registry,
    run_id: str,
    backend: JobBackend,
    step: str,
    inputs: Inputs,
    key: str,
) -> JobRequest:
    """A job that runs one trainer step."""
    task = make_task(plan, store, registry, run_id, backend)
    return JobRequest(
        kind="training",
        backend=plan.steps[step].backend,
        pipeline=plan.pipeline,
        task=msgspec.structs.replace(task, step=step, inputs=inputs, key=key),
    )


def job_of_run(
    plan: Plan,
    store: ArtifactStore,
    registry: Registry,
    run_id: str,
    backend: JobBackend,
    observers: Sequence[Observer] = (),
    cancelled: Callable[[], bool] = lambda: False,
) -> JobRun:
    """The job that runs a whole plan."""
    task = make_task(plan, store, registry, run_id, backend)
    config = BackendConfig(plan.orchestrator.type, plan.orchestrator.args)
    request = JobRequest(kind="orchestrator", backend=config, pipeline=plan.pipeline, task=task)
    return _job(backend, store, request, observers, cancelled)


def _job(
    backend: JobBackend,
    store: ArtifactStore,
    request: JobRequest,
    observers: Sequence[Observer],
    cancelled: Callable[[], bool],
) -> JobRun:
    relay = _Relay(store, request.task.run, observers)
    return JobRun(backend, store, request, cancelled=cancelled, tell=say, looked=relay.look)


def say(text: str) -> None:
    """Tell the user something that happens to a job."""
    print(text, file=sys.stderr, flush=True)


class _Relay:
    """Passes the events of an engine that runs elsewhere on to observers here."""

    def __init__(self, store: ArtifactStore, run_id: str, observers: Sequence[Observer]) -> None:
        self._store = store
        self._prefix = f"runs/{run_id}/log/"
        self._observers = observers
        self._after: str | None = None

    def look(self) -> None:
        """Pass on what is new."""
        if not self._observers:
            return
        for found in list(self._store.list(self._prefix, after=self._after)):
            self._after = found.key
            events = msgspec.convert(from_json(self._store.read(found.key)), list[StepRecord])
            for event in events:
                for observer in self._observers:
                    observer(event)


def wait_for(
    backend: JobBackend,
    store: ArtifactStore,
    request: JobRequest,
    cancelled: Callable[[], bool],
) -> None:
    """Start the job of a trainer step, or find it again, and wait for its end.

    Raises:
        RunError: it failed, or the run was cancelled.
    """
    _job(backend, store, request, (), cancelled).wait()


def see_plan_through(job: JobRun) -> None:
    """Wait for a plan's job, and see that the run has an outcome whatever happened.

    Raises:
        RunError: a step failed, the run was cancelled, or the job itself failed.
    """
    run_id, store = job.request.task.run, job.store
    try:
        job.wait()
    except (KeyboardInterrupt, RunCancelledError) as error:
        failure = Failure(cause="CANCELLED", type=type(error).__name__, message=str(error))
        _conclude(store, run_id, "cancelled", failure)
        raise
    except JobFailedError as error:
        _conclude(store, run_id, "failed", error.failure)
        told = _in_words(store, run_id, error)
        if told is None:
            raise
        raise told from error


def _conclude(store: ArtifactStore, run_id: str, status: RunStatus, failure: Failure) -> None:
    """Write the outcome of a run whose engine did not get so far."""
    if read_outcome(store, run_id) is not None:
        return
    latest = {event.step: event.status for event in read_events(store, run_id)}
    ended = Counter(state for state in latest.values() if state != "running")
    outcome = Outcome(
        status=status,
        finished=now(),
        seconds=_age(store, run_id),
        counts=dict(sorted(ended.items())),
        failure=failure,
    )
    RunLog(store, run_id).finish(outcome)


def _age(store: ArtifactStore, run_id: str) -> float:
    started = datetime.fromisoformat(read_started(store, run_id).started.replace("Z", "+00:00"))
    return round((datetime.now(timezone.utc) - started).total_seconds(), 3)


def _in_words(store: ArtifactStore, run_id: str, error: JobFailedError) -> RunError | None:
    """The step's own failure, if it was a step that failed."""
    for event in read_events(store, run_id):
        if event.status == "failed" and event.failure is not None:
            said = event.failure.message.partition("\n")[0]
            return StepFailedError(
                f"step '{event.step}' failed: {event.failure.type}: {said}",
                step=event.step,
                run_id=run_id,
                traceback_text=event.failure.traceback or None,
                remedy=error.remedy,
            )
    return None


def attach(
    store: ArtifactStore,
    registry: Registry,
    run_id: str,
    observers: Sequence[Observer] = (),
) -> None:
    """Wait for a run that another client started, as that client would.

    Raises:
        RunError: it failed, was cancelled, or runs in a process that cannot be attached to.
    """
    outcome = read_outcome(store, run_id)
    folders = [folder for folder in job_folders(store, run_id) if folder.endswith("/plan")]
    if not folders:
        if outcome is not None:
            return
        raise RunError(
            f"run {run_id} runs in the process that started it, and cannot be waited for here",
            remedy=f"'zenml run show {run_id}' shows how it stands",
        )
    see_plan_through(job_from_store(store, registry, folders[0], observers))


def job_from_store(
    store: ArtifactStore,
    registry: Registry,
    folder: str,
    observers: Sequence[Observer] = (),
) -> JobRun:
    """A job that any client has asked for, ready to be waited for or cancelled."""
    request = read_request(store, folder)
    backend: Any = make_backend(request.kind, request.backend, registry)  # type: ignore[arg-type]
    return _job(backend, store, request, observers, lambda: False)
