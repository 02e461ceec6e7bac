"""The life of a job, the same for every backend: submit, wait, retry, cancel, attach.

::

    runs/<run>/jobs/<job>/request.json               what was asked for; the same for every attempt
    runs/<run>/jobs/<job>/<attempt>/task.json        what the runner is told
    runs/<run>/jobs/<job>/<attempt>/handle.json      how the service finds the attempt again
    runs/<run>/jobs/<job>/<attempt>/alive.json       the runner's sign of life
    runs/<run>/jobs/<job>/<attempt>/log-*.txt        the log, in chunks
    runs/<run>/jobs/<job>/<attempt>/outcome.json     how the attempt ended; written once
    runs/<run>/cancel.json                           somebody, somewhere, cancelled the run

Whoever waits writes nothing that another waiter could not write as well: a client may vanish, and
another one on another machine goes on from what is in the store.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from zenml.core._canonical import canonical
from zenml.core._clock import now
from zenml.core.contracts._backend import BackendConfig
from zenml.core.contracts._job import Cause, Failure, Handle, Job, JobBackend, JobState
from zenml.core.contracts._store import ArtifactStore, safe_segment
from zenml.core.errors import (
    ObjectNotFoundError,
    RunCancelledError,
    RunError,
    StoreError,
    ZenMLError,
)
from zenml.core.jobs._task import JobOutcome, Task, read_outcome, write_task

__all__ = [
    "JobFailedError",
    "JobRequest",
    "JobRun",
    "cancel_requested",
    "job_folders",
    "request_cancel",
]

#: Seconds between looks at a job: short at first, so that a short job is not waited for.
_FIRST_LOOK, _LAST_LOOK = 0.1, 5.0

#: Seconds without a sign of life after which a job that should be running is lost. The age is taken
#: between two observations of one clock, ours, so that clocks that differ do not matter.
LOST_AFTER = 90.0

#: Seconds that an outcome may need to become visible after the service has seen the end.
_OUTCOME_DELAY = 5.0


class JobFailedError(RunError):
    """A job failed, and its retries are used up.

    Attributes:
        failure: Why, with its typed cause.
    """

    def __init__(self, failure: Failure, *, where: str, remedy: str | None = None) -> None:
        super().__init__(f"{failure.cause}: {failure.message}", where=where, remedy=remedy)
        self.failure = failure


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``request.json``: a job, independent of attempts.

    Attributes:
        kind: orchestrator or training.
        backend: The backend that carries it.
        pipeline: The pipeline's name.
        task: What to do.
    """

    kind: str
    backend: BackendConfig
    pipeline: str
    task: Task


class JobRun:
    """One job of one run: all its attempts, seen from a client.

    Args:
        backend: Carries the job.
        store: Holds everything about it.
        request: What is asked for.
        cancelled: Asked now and then; True ends the job.
        tell: Told in words when something changes that a user wants to know.
        looked: Called after every look at the job.
    """

    def __init__(
        self,
        backend: JobBackend,
        store: ArtifactStore,
        request: JobRequest,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = lambda _: None,
        looked: Callable[[], None] = lambda: None,
    ) -> None:
        self.backend = backend
        self.store = store
        self.request = request
        self._cancelled = cancelled
        self._tell = tell
        self._looked = looked
        self.folder = job_folder(request.task.run, request.task.step)

    # -- what a client does ----------------------------------------------------------------------

    def start(self) -> Handle:
        """Submit the first attempt; it runs on whatever becomes of this process."""
        self.store.write_if_absent(f"{self.folder}/request.json", canonical(self.request))
        return self._submit(1)

    def wait(self) -> None:
        """See the job to its end, with retries. Starts it if nobody has.

        Raises:
            JobFailedError: it failed, and its retries are used up.
            RunCancelledError: somebody cancelled it.
        """
        attempt = self.last_attempt()
        if attempt == 0:
            self.start()
            attempt = 1
        used: dict[str, int] = {}
        while True:
            outcome = self._wait_for(attempt)
            if outcome.failure is None:
                return
            failure = outcome.failure
            where = f"{self._title()}, attempt {attempt}"
            if failure.cause == "CANCELLED":
                raise RunCancelledError("the run was cancelled", where=where)
            used[failure.cause] = used.get(failure.cause, 0) + 1
            allowed = self.backend.retries_for(failure.cause)
            if used[failure.cause] > allowed:
                raise JobFailedError(failure, where=where, remedy=_REMEDIES.get(failure.cause))
            delay = self.backend.retry_delay * 2 ** (used[failure.cause] - 1)
            delay *= random.uniform(0.8, 1.2)  # noqa: S311 - so that many jobs do not retry at once
            self._tell(
                f"{where} failed ({failure.cause}: {failure.message}); trying again in "
                f"{delay:.0f} s, {used[failure.cause]} of {allowed}"
            )
            self._pause(delay)
            if self._asked_to_cancel():
                raise RunCancelledError("the run was cancelled", where=where)
            attempt += 1
            self._submit(attempt)

    def cancel(self, grace: float = 10.0) -> None:
        """End every attempt that has not ended. Safe to call from anywhere, any number of times."""
        for attempt in range(1, self.last_attempt() + 1):
            handle = self.handle(attempt)
            if handle is not None and read_outcome(self.store, self._attempt(attempt)) is None:
                self.backend.cancel(handle, grace)

    def last_attempt(self) -> int:
        """The number of the latest attempt that was begun; 0 if none was."""
        numbers = [
            int(found.key.split("/")[-2])
            for found in self.store.list(f"{self.folder}/")
            if found.key.endswith("/task.json")
        ]
        return max(numbers, default=0)

    def handle(self, attempt: int) -> Handle | None:
        """How to find an attempt again; None if its submission was never confirmed."""
        try:
            data = self.store.read(f"{self._attempt(attempt)}/handle.json")
        except ObjectNotFoundError:
            return None
        return msgspec.json.decode(data, type=Handle)

    # -- attempts --------------------------------------------------------------------------------

    def _attempt(self, number: int) -> str:
        return f"{self.folder}/{number}"

    def _title(self) -> str:
        task = self.request.task
        return f"step '{task.step}' of run {task.run}" if task.step else f"run {task.run}"

    def job(self, attempt: int) -> Job:
        """The job as a service is asked to start it."""
        folder = self._attempt(attempt)
        task = self.request.task
        digest = write_task(self.store, folder, task)
        return Job(
            name=job_name(task.run, task.step, attempt),
            run=task.run,
            pipeline=self.request.pipeline,
            step=task.step,
            attempt=attempt,
            store=self.store.url,
            folder=folder,
            digest=digest,
            timeout=self.backend.timeout,
        )

    def _submit(self, attempt: int) -> Handle:
        """Submit an attempt and store its handle. Doing it twice gives the same job."""
        known = self.handle(attempt)
        if known is not None:
            return known
        handle = self.backend.submit(self.job(attempt))
        self.store.write_if_absent(f"{self._attempt(attempt)}/handle.json", canonical(handle))
        return handle

    def _wait_for(self, attempt: int) -> JobOutcome:
        """Wait for the end of an attempt, whatever kind of end that is."""
        # A client that vanished between submission and the handle left an attempt without one.
        handle = self._submit(attempt)
        watch = _Watch(self, attempt, handle)
        look = _FIRST_LOOK
        try:
            while True:
                outcome = watch.look()
                self._looked()
                if outcome is not None:
                    self.backend.cleanup(handle)
                    return outcome
                self._pause(look)
                look = min(look * 1.5, _LAST_LOOK)
        except KeyboardInterrupt:
            request_cancel(self.store, self.request.task.run)
            self.backend.cancel(handle, self.request.task.grace)
            raise

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._cancelled():
            threading.Event().wait(min(left, 0.5))

    def _asked_to_cancel(self) -> bool:
        if self._cancelled():
            return True
        return cancel_requested(self.store, self.request.task.run)


class _Watch:
    """Looks at one attempt until it is clear how it ended."""

    def __init__(self, owner: JobRun, attempt: int, handle: Handle) -> None:
        self.owner = owner
        self.attempt = attempt
        self.handle = handle
        self.folder = f"{owner.folder}/{attempt}"
        begun = time.monotonic()
        self._submitted = begun
        self._running_since: float | None = None
        self._sign: Any = None
        self._sign_at = begun
        self._ended_at: float | None = None
        self._said = ""
        self._cancelling = False

    def look(self) -> JobOutcome | None:
        """One look; the attempt's outcome if it has one now."""
        store, backend = self.owner.store, self.owner.backend
        try:
            outcome = read_outcome(store, self.folder)
            if outcome is not None:
                return outcome
            self._see_sign_of_life(store)
            if not self._cancelling and self.owner._asked_to_cancel():  # noqa: SLF001 - its watch
                self._cancelling = True
                backend.cancel(self.handle, self.owner.request.task.grace)
            state = backend.poll(self.handle)
        except (StoreError, ConnectionError, TimeoutError) as error:
            # A store or service that does not answer says nothing about the job.
            self._say(f"cannot be looked at for now: {error}")
            return None
        return self._judge(state)

    def _see_sign_of_life(self, store: ArtifactStore) -> None:
        signs = [(found.key, found.modified) for found in store.list(f"{self.folder}/")]
        if signs != self._sign:
            self._sign, self._sign_at = signs, time.monotonic()

    def _judge(self, state: JobState) -> JobOutcome | None:
        moment = time.monotonic()
        if state.ended:
            return self._judge_end(state, moment)
        if state.phase == "pending":
            if state.message:
                self._say(state.message + (f"; {state.remedy}" if state.remedy else ""))
            waited = moment - self._submitted
            limit = self.owner.backend.pending_timeout
            if state.hopeless or waited > limit:
                late = f"it found no place to run within {limit:.0f} s"
                return self._give_up(state.cause or "UNSCHEDULABLE", state.message or late)
            return None
        if self._running_since is None:
            self._running_since = self._sign_at = moment
        timeout = self.owner.backend.timeout
        # The runner ends its own work in time; this is for a runner that cannot.
        if timeout is not None and moment - self._running_since > timeout + 30:
            return self._give_up("TIMEOUT", f"the job did not end within {timeout} s")
        if moment - self._sign_at > LOST_AFTER:
            silent = f"no sign of life for {moment - self._sign_at:.0f} s"
            return self._give_up("LOST", f"{silent}, though the service says that it runs")
        return None

    def _judge_end(self, state: JobState, moment: float) -> JobOutcome | None:
        if self._ended_at is None:
            self._ended_at = moment
        unclear = state.phase != "gone" and state.cause in (None, "INFRA", "LOST")
        if unclear and moment - self._ended_at < _OUTCOME_DELAY:
            return None  # the outcome may be on its way
        if self._cancelling:
            return self._settle("CANCELLED", "the run was cancelled")
        if state.phase == "failed" and state.cause is not None:
            return self._settle(state.cause, state.message or "the service says no more")
        words = {
            "gone": "the job vanished and left no outcome",
            "succeeded": "the service says that it succeeded, and it left no outcome",
            "failed": "the job failed and left no outcome",
        }
        return self._settle("LOST", state.message or words[state.phase])

    def _give_up(self, cause: Cause, message: str) -> JobOutcome:
        """End a job that will not end well by itself, then write down how it ended."""
        self.owner.backend.cancel(self.handle, self.owner.request.task.grace)
        return self._settle(cause, message)

    def _settle(self, cause: Cause, message: str) -> JobOutcome:
        outcome = JobOutcome(
            status="failed",
            attempt=self.attempt,
            failure=Failure(cause=cause, type="Job", message=message),
            finished=now(),
            seconds=round(time.monotonic() - self._submitted, 3),
            by="client",
        )
        key = f"{self.folder}/outcome.json"
        if self.owner.store.write_if_absent(key, canonical(outcome)):
            return outcome
        return read_outcome(self.owner.store, self.folder) or outcome

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self.owner._tell(f"{self.handle.job}: {text}")  # noqa: SLF001 - its watch


_REMEDIES: dict[str, str] = {
    "USER_ERROR": "mend it and run again: finished steps are kept",
    "OOM": "give the backend more memory, or the step smaller pieces",
    "PREEMPTED": "use a machine that is not taken away, or allow more retries",
    "IMAGE": "check the image's name and that the service may read it",
    "UNSCHEDULABLE": "ask for less, or for something that the service has",
    "CONFIG": "make the remote environment as the plan expects it",
    "TIMEOUT": "give the backend a longer timeout",
    "LOST": "look at the service's own logs, and run again: finished steps are kept",
}


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


def request_cancel(store: ArtifactStore, run: str) -> None:
    """Ask everything that works for a run, wherever it is, to end."""
    store.write_if_absent(f"runs/{run}/cancel.json", canonical({"at": now()}))


def cancel_requested(store: ArtifactStore, run: str) -> bool:
    """Whether somebody, somewhere, has asked for that."""
    return any(store.list(f"runs/{run}/cancel.json"))


def read_request(store: ArtifactStore, folder: str) -> JobRequest:
    """What was asked for. Raises ``ZenMLError`` if nothing was."""
    try:
        return msgspec.json.decode(store.read(f"{folder}/request.json"), type=JobRequest)
    except ObjectNotFoundError as error:
        raise ZenMLError("there is no such job", where=folder) from error
