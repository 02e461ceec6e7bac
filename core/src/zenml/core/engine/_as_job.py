"""Plans and steps as jobs: from the engine's side of the fence to the jobs' side."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import metadata
from typing import Any, NamedTuple

import msgspec

from zenml.core._backends import make_backend
from zenml.core._canonical import from_json
from zenml.core._clock import now
from zenml.core._project import find_root
from zenml.core.contracts._backend import BackendConfig, OrchestratorBackend
from zenml.core.contracts._job import Failure, JobBackend
from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._keys import Inputs
from zenml.core.engine._records import (
    Outcome,
    RunStatus,
    StepRecord,
    read_events,
    read_outcome,
    read_started,
    status_of,
    write_outcome,
)
from zenml.core.engine._ship import refuse_outside
from zenml.core.errors import (
    IntegrityError,
    RunCancelledError,
    RunError,
    StepFailedError,
    StoreError,
    ZenMLError,
)
from zenml.core.jobs import (
    JobFailedError,
    JobRequest,
    JobRun,
    job_folders,
    read_request,
    request_cancel,
)
from zenml.core.jobs._attempts import attempts_of, open_attempts, read_task_key
from zenml.core.jobs._task import Task
from zenml.core.jobs._task import read_outcome as read_attempt
from zenml.core.plan._model import Plan
from zenml.core.plugins._registry import Registry
from zenml.core.sources import GitState

__all__ = [
    "SentCode",
    "attach",
    "cancel_run",
    "code_of",
    "conclude_cancelled",
    "end_jobs",
    "headline",
    "job_from_store",
    "job_of_run",
    "say",
    "see_plan_through",
    "send_code",
    "start_plan",
    "step_request",
    "wait_for",
]

#: So many jobs are ended one after the other; of more, so many at once.
_FEW, _AT_ONCE = 3, 16

#: Told of every step as it starts and ends.
Observer = Callable[[StepRecord], None]


class SentCode(NamedTuple):
    """What a runner gets to run: a repository's code, and what that needs.

    Attributes:
        digest: The code bundle; None if all code is installed there.
        requires: Distributions that it needs, with their versions.
        git: The commit that it was at, and whether tracked files differed from it.
    """

    digest: str | None
    requires: dict[str, str]
    git: GitState | None


def code_of(store: ArtifactStore, run_id: str) -> SentCode | None:
    """The code that the jobs of a run were sent; None if it has none."""
    for folder in job_folders(store, run_id):
        request = read_request(store, folder)
        return SentCode(request.task.code, request.task.requires, request.git)
    return None


def send_code(
    plan: Plan, store: ArtifactStore, registry: Registry, *, orchestrator: bool = False
) -> SentCode:
    """Store the code that a plan needs; say what that needs, with its orchestrator or without.

    Raises:
        ConfigurationError: the code cannot be sent; says every reason.
    """
    from zenml.core.bundle import required_distributions, store_bundle

    refuse_outside(root for root in plan.import_roots if os.path.isabs(root))
    bundle = store_bundle(store, find_root())
    requires = required_distributions(plan, registry, orchestrator=orchestrator)
    return SentCode(bundle.digest, requires, bundle.git)


def _task(plan: Plan, run_id: str, backend: JobBackend, code: SentCode) -> Task:
    return Task(
        core=metadata.version("zenml-core"),
        run=run_id,
        plan=plan.digest,
        code=code.digest,
        requires=code.requires,
        timeout=backend.timeout,
    )


def step_request(
    plan: Plan,
    registry: Registry,
    run_id: str,
    backend: JobBackend,
    step: str,
    inputs: Inputs,
    key: str,
    code: SentCode,
    *,
    of_plan: bool = False,
) -> JobRequest:
    """A job that runs one step.

    Args:
        plan: What the step belongs to.
        registry: What is installed.
        run_id: The run.
        backend: Carries the job.
        step: The step's name.
        inputs: Its inputs.
        key: Its cache key.
        code: The code that was sent.
        of_plan: Whether the plan's orchestrator has a job for each step; else the step is a
            trainer, and its own backend carries it.
    """
    from zenml.core.bundle import required_distributions

    requires = required_distributions(plan, registry, backends=of_plan)
    task = msgspec.structs.replace(
        _task(plan, run_id, backend, code._replace(requires=requires)),
        step=step,
        inputs=inputs,
        key=key,
        own_backend=of_plan,
    )
    return JobRequest(
        kind="orchestrator" if of_plan else "training",
        backend=_orchestrator_of(plan) if of_plan else plan.steps[step].backend,
        pipeline=plan.pipeline,
        task=task,
        git=code.git,
    )


def _orchestrator_of(plan: Plan) -> BackendConfig:
    return BackendConfig(plan.orchestrator.type, plan.orchestrator.args)


def job_of_run(
    plan: Plan,
    store: ArtifactStore,
    registry: Registry,
    run_id: str,
    backend: JobBackend,
    observers: Sequence[Observer] = (),
    cancelled: Callable[[], bool] = lambda: False,
    code: SentCode | None = None,
) -> JobRun:
    """The job that runs a whole plan, with code that was sent before, or with the present one.

    Raises:
        ConfigurationError: the code cannot be sent.
    """
    drives = limit = None
    if isinstance(backend, OrchestratorBackend):
        drives, limit = backend.step_backend(), backend.parallel_steps()
    # Where the engine has a job for each step, it asks the orchestrator for them there.
    code = code or send_code(plan, store, registry, orchestrator=drives is not None)
    request = JobRequest(
        kind="orchestrator",
        backend=_orchestrator_of(plan),
        pipeline=plan.pipeline,
        task=msgspec.structs.replace(
            _task(plan, run_id, backend, code),
            max_parallel_steps=limit,
            steps_as_jobs=drives is not None,
        ),
        git=code.git,
    )
    return _job(backend, store, request, observers, cancelled)


def _job(
    backend: JobBackend,
    store: ArtifactStore,
    request: JobRequest,
    observers: Sequence[Observer],
    cancelled: Callable[[], bool],
    tell: Callable[[str], None] | None = None,
    asked: Callable[[], bool] | None = None,
) -> JobRun:
    relay = _Relay(store, request.task.run, observers)
    return JobRun(
        backend,
        store,
        request,
        cancelled=cancelled,
        tell=tell or say,
        looked=relay.look,
        asked=asked,
    )


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
        """Pass on what is new; what cannot be read now comes with the next look."""
        if not self._observers:
            return
        try:
            for found in list(self._store.list(self._prefix, after=self._after)):
                self._pass_on(self._store.read(found.key))
                self._after = found.key
        except (StoreError, OSError):
            # Of the store, or of whoever read the display and has gone; the run goes on.
            return

    def _pass_on(self, data: bytes) -> None:
        try:
            events = msgspec.convert(from_json(data), list[StepRecord])
        except ValueError:
            return  # a damaged batch; no result depends on it
        for event in events:
            for observer in self._observers:
                observer(event)


def wait_for(
    backend: JobBackend,
    store: ArtifactStore,
    request: JobRequest,
    cancelled: Callable[[], bool],
    asked: Callable[[], bool],
    committed: Callable[[], bool],
) -> None:
    """Start the job of a step, or find it again, and wait for its end.

    Args:
        backend: Carries the job.
        store: Holds everything about it.
        request: What is asked for.
        cancelled: Whether this process wants the run to end.
        asked: Whether anybody does.
        committed: Whether the step's result is in the store.

    Raises:
        RunError: it failed, or the run was cancelled.
    """
    job = _job(backend, store, request, (), cancelled, asked=asked)
    job.first = _first_attempt(job, committed)
    job.wait()


def _first_attempt(job: JobRun, committed: Callable[[], bool]) -> int:
    """The attempt to begin with, as an earlier engine of the run may have had some.

    The last of them is of no use if it worked at something else, because an input looks different
    by now; if it succeeded, and its result is not there any more; or if it was given something
    damaged, which has been made again since. Every other end stands, and counts for the retries.
    """
    store = job.store
    last = max(attempts_of(store, job.folder), default=0)
    if not last:
        return 1
    attempt = f"{job.folder}/{last}"
    outcome = read_attempt(store, attempt)
    if read_task_key(store, attempt) != job.request.task.key:
        if outcome is None:
            job.end_attempt(last, job.request.task.grace)
        return last + 1
    if outcome is None:
        return 1
    if outcome.failure is None:
        return 1 if committed() else last + 1
    return last + 1 if outcome.failure.type == IntegrityError.__name__ else 1


def start_plan(job: JobRun, registry: Registry) -> None:
    """Start a plan's job, and leave it.

    Raises:
        RunError: it cannot be started; the run has an outcome that says so.
    """
    with _concluding(job, registry):
        job.start()


def see_plan_through(job: JobRun, registry: Registry) -> None:
    """Wait for a plan's job, and see that the run has an outcome whatever happened.

    Raises:
        RunError: a step failed, the run was cancelled, or the job itself failed.
    """
    with _concluding(job, registry):
        job.wait()
    run_id, store = job.request.task.run, job.store
    try:
        if read_outcome(store, run_id) is None:
            _conclude(store, run_id, "succeeded", None)  # its engine's own is damaged
        if len(attempts_of(store, job.folder)) > 1:
            # One that was cut off may have left a trainer's job, which the last had no need of.
            end_jobs(store, registry, run_id, job.request.task.grace)
    except StoreError as error:
        say(f"run {run_id} succeeded, and cannot be tidied up after: {error}")


@contextmanager
def _concluding(job: JobRun, registry: Registry) -> Iterator[None]:
    """See that a run that did not succeed has an outcome, and no job left that works for it.

    A run whose engine came to the end of the plan has succeeded, whatever became of its runner.
    """
    run_id, store = job.request.task.run, job.store
    try:
        yield
    except (KeyboardInterrupt, RunCancelledError):
        conclude_cancelled(store, run_id)
        # The engine that waited for its trainers has gone.
        end_jobs(store, registry, run_id, 0.0 if job.forced else job.request.task.grace)
        raise
    except JobFailedError as error:
        _conclude(store, run_id, "failed", error.failure)
        end_jobs(store, registry, run_id, job.request.task.grace)
        outcome = read_outcome(store, run_id)
        if outcome is not None and outcome.status == "succeeded":
            return
        told = _in_words(store, run_id, error)
        if told is None:
            raise
        raise told from error


def end_jobs(
    store: ArtifactStore,
    registry: Registry,
    run_id: str,
    grace: float,
    tell: Callable[[str], None] = say,
) -> None:
    """End every job of a run that has not ended, and tidy up. Raises nothing: it tells instead."""

    def end(folder: str) -> None:
        job = job_from_store(store, registry, folder, tell=tell)
        job.end(grace)
        job.tidy()

    try:
        _of_each(job_folders(store, run_id), end)
    except Exception as error:  # noqa: BLE001 - a backend or a store, whose failure is told
        tell(f"the jobs of run {run_id} cannot be ended: {error}; 'zenml gc' finds them later")


def _of_each(folders: list[str], do: Callable[[str], None]) -> None:
    """Do something to many jobs, several at a time: a service may take seconds over each.

    Raises the first exception, after all have been tried.
    """
    if len(folders) <= _FEW:
        # Without threads, so that Ctrl-C ends it too.
        errors = [error for folder in folders if (error := _failing(do, folder)) is not None]
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            tried = pool.map(lambda folder: _failing(do, folder), folders)
            errors = [error for error in tried if error is not None]
    if errors:
        raise errors[0]


def _failing(do: Callable[[str], None], folder: str) -> Exception | None:
    try:
        do(folder)
    except Exception as error:  # noqa: BLE001 - raised by whoever asked
        return error
    return None


def conclude_cancelled(store: ArtifactStore, run_id: str) -> None:
    """Write down that a run was cancelled whose engine did not get so far."""
    failure = Failure(cause="CANCELLED", type="RunCancelledError", message="the run was cancelled")
    _conclude(store, run_id, "cancelled", failure)


def _conclude(
    store: ArtifactStore, run_id: str, status: RunStatus, failure: Failure | None
) -> None:
    latest = {event.step: event.status for event in read_events(store, run_id)}
    ended = Counter(state for state in latest.values() if state != "running")
    outcome = Outcome(
        status=status,
        finished=now(),
        seconds=_age(store, run_id),
        counts=dict(sorted(ended.items())),
        failure=failure,
    )
    # Its engine may have got so far after all, and knows better.
    write_outcome(store, run_id, outcome)


def _age(store: ArtifactStore, run_id: str) -> float:
    try:
        started = datetime.fromisoformat(read_started(store, run_id).started.replace("Z", "+00:00"))
    except IntegrityError:
        return 0.0  # how it ended is to be known even so
    # Another machine's clock may be ahead of ours.
    return max(0.0, round((datetime.now(timezone.utc) - started).total_seconds(), 3))


def _in_words(store: ArtifactStore, run_id: str, error: JobFailedError) -> RunError | None:
    """The step's own failure, if it was a step that failed."""
    # An earlier attempt's failure is past if the step has begun again.
    latest = {event.step: event for event in read_events(store, run_id)}
    for event in latest.values():
        if event.status == "failed" and event.failure is not None:
            return StepFailedError(
                f"step '{event.step}' failed: {headline(event.failure)}",
                step=event.step,
                run_id=run_id,
                traceback_text=event.failure.traceback or None,
                remedy=error.remedy,
            )
    return None


def headline(failure: Failure) -> str:
    """A failure in one line: the user's exception, or what became of the job."""
    kind = failure.cause if failure.type == "Job" else failure.type
    return f"{kind}: {failure.message.partition(chr(10))[0]}"


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
    if outcome is not None and (not folders or outcome.status != "failed"):
        _Relay(store, run_id, observers).look()
        if folders and open_attempts(store.list(f"runs/{run_id}/jobs/")):
            # Its client vanished before it had tidied up.
            _tidy_up(store, registry, run_id, folders[0], outcome)
        _repeat(run_id, outcome)
        return
    if not folders:
        raise RunError(
            f"run {run_id} runs in the process that started it, and cannot be waited for here",
            remedy=f"'zenml run show {run_id}' shows how it stands",
        )
    # Also of a run that failed: its client may have vanished before it tried again.
    see_plan_through(job_from_store(store, registry, folders[0], observers), registry)


def _tidy_up(
    store: ArtifactStore, registry: Registry, run_id: str, folder: str, outcome: Outcome
) -> None:
    """Do what the client of a run that has ended did not come to; tells what cannot be done."""
    try:
        job = job_from_store(store, registry, folder)
        if outcome.status == "succeeded":
            see_plan_through(job, registry)  # its runner may be about to say so
        else:
            end_jobs(store, registry, run_id, job.request.task.grace)
    except ZenMLError as error:
        say(f"run {run_id} cannot be tidied up after: {error}; 'zenml gc' does it later")


def cancel_run(store: ArtifactStore, registry: Registry, run_id: str, grace: float) -> None:
    """End a run and every job of it, from anywhere, and see it to its end.

    Raises:
        RunError: how it ended; or that it runs in a process that only Ctrl-C reaches.
    """
    request_cancel(store, run_id)
    folders = job_folders(store, run_id)
    _of_each(folders, lambda folder: job_from_store(store, registry, folder).cancel(grace))
    if any(folder.endswith("/plan") for folder in folders):
        attach(store, registry, run_id)
        return
    started = read_started(store, run_id)
    if folders:
        # Its engine waits for a trainer's job, hears of its end, and says so; if it is there.
        deadline = time.monotonic() + grace + 20
        while status_of(store, started, read_outcome(store, run_id)) == "running":
            if time.monotonic() > deadline:
                break
            threading.Event().wait(0.5)
        else:
            end_jobs(store, registry, run_id, grace)
            conclude_cancelled(store, run_id)
            return
    raise RunError(
        f"run {run_id} runs in the process that started it",
        where=f"process {started.pid} on {started.host}",
        remedy="press Ctrl-C there",
    )


def _repeat(run_id: str, outcome: Outcome) -> None:
    """Raise what the client of a run that has ended was told."""
    if outcome.status == "succeeded":
        return
    if outcome.status == "cancelled":
        raise RunCancelledError("the run was cancelled", where=f"run {run_id}")
    why = f": {headline(outcome.failure)}" if outcome.failure else ""
    raise RunError(
        f"run {run_id} {outcome.status}{why}",
        remedy=f"'zenml run show {run_id}' shows how its steps ended",
    )


def job_from_store(
    store: ArtifactStore,
    registry: Registry,
    folder: str,
    observers: Sequence[Observer] = (),
    tell: Callable[[str], None] | None = None,
) -> JobRun:
    """A job that any client has asked for, ready to be waited for or cancelled."""
    request = read_request(store, folder)
    backend: Any = make_backend(request.kind, request.backend, registry)  # type: ignore[arg-type]
    if request.kind == "orchestrator" and request.task.step is not None:
        backend = backend.step_backend() or backend
    return _job(backend, store, request, observers, lambda: False, tell)
