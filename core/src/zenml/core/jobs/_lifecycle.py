"""The life of a job, the same for every backend: submit, wait, retry, cancel, attach.

Whoever waits writes nothing that another waiter could not write as well: a client may vanish, and
another one on another machine goes on from what is in the store.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from zenml.core._canonical import canonical
from zenml.core.contracts._job import Cause, Failure, Handle, Job, JobBackend
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import (
    BackendError,
    ConfigurationError,
    RunCancelledError,
    RunError,
    StoreError,
    ZenMLError,
)
from zenml.core.jobs._attempts import (
    JobRequest,
    attempts_of,
    cancel_requested,
    is_cleaned,
    job_folder,
    job_name,
    mark_cleaned,
    mark_unknown,
    read_handle,
    request_cancel,
    settle,
    store_handle,
)
from zenml.core.jobs._interrupt import AGAIN, Interrupt
from zenml.core.jobs._log import Redactor
from zenml.core.jobs._patience import TRANSIENT, patiently
from zenml.core.jobs._task import JobOutcome, read_outcome, write_task
from zenml.core.jobs._watch import Watch

__all__ = ["JobFailedError", "JobRun"]

#: Seconds between looks at a job: short at first, so that a short job is not waited for.
_FIRST_LOOK, _LAST_LOOK = 0.1, 5.0

#: Seconds between tries of what no result depends on: nobody waits long for it.
_BRIEFLY = (0.5, 1.0, 2.0)

#: Seconds that a job that was given up, beyond its grace, is watched to its end before it is tidied
#: up and another attempt begins.
_ENDING_TAKES = 30.0

#: Lines of the service's log that are kept of a job that has no other.
_LINES_KEPT = 20_000

_CANCELLED = "the run was cancelled"

_Result = TypeVar("_Result")


class JobFailedError(RunError):
    """A job failed, and its retries are used up.

    Attributes:
        failure: Why, with its typed cause.
    """

    def __init__(self, failure: Failure, *, where: str, remedy: str | None = None) -> None:
        super().__init__(f"{failure.cause}: {failure.message}", where=where, remedy=remedy)
        self.failure = failure


class JobRun:
    """One job of one run: all its attempts, seen from a client.

    Args:
        backend: Carries the job.
        store: Holds everything about it.
        request: What is asked for.
        cancelled: Asked now and then; True ends the job.
        tell: Told in words when something changes that a user wants to know.
        looked: Called after every look at the job.
        asked: Whether anybody, anywhere, wants the run to end; looked up each time, if not given.

    Attributes:
        first: The attempt to begin with; those before it were for something else, and are past.
        forced: Whether a second Ctrl-C has ended the waiting.
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
        asked: Callable[[], bool] | None = None,
    ) -> None:
        self.backend = backend
        self.store = store
        self.request = request
        self.folder = job_folder(request.task.run, request.task.step)
        self.first = 1
        self.forced = False
        self._asked = asked or self._look_whether_asked
        self._cancelled = cancelled
        self._tell = tell
        self._looked = looked
        self._interrupt = Interrupt(self._tell_of_interrupt)
        self._cancelling = False

    # -- what a client does ----------------------------------------------------------------------

    def prepare(self) -> Any:
        """Write down all that the first attempt needs; returns what the service would be sent.

        The service is not asked. Whoever waits for the job later submits it under its name, which
        finds one that somebody has started so, or starts it.
        """
        self._ask()
        job = self._patiently("writing the task", lambda: self.job(1))
        return self.backend.render(job)

    def start(self) -> Handle:
        """Submit the first attempt; it runs on whatever becomes of this process.

        Raises:
            JobFailedError: it cannot be submitted.
            RunCancelledError: somebody cancelled it meanwhile.
        """
        with self._interruptible():
            self._ask()
            begun = self._begin(1)
            if self._stopping():
                self._see_through()
            if isinstance(begun, JobOutcome):
                assert begun.failure is not None
                raise self._failed(begun.failure, 1)
        return begun

    def wait(self) -> None:
        """See the job to its end, with retries. Starts it if nobody has.

        Retries are counted from what is in the store, so that those of an earlier client count.

        Raises:
            JobFailedError: it failed, and its retries are used up.
            RunCancelledError: somebody cancelled it.
            KeyboardInterrupt: Ctrl-C cancelled it; a second one, without waiting for its end.
        """
        with self._interruptible():
            last = self._last_attempt()
            if last < self.first:
                self._ask()
            elif read_outcome(self.store, self._attempt(last)) is None:
                self._tell(f"waiting for {self._title()}; Ctrl-C cancels it")
            self._see_through()

    def cancel(self, grace: float = 10.0) -> None:
        """Have every attempt that has not ended be ended. Does not wait for it.

        Safe to call from anywhere, any number of times.
        """
        for attempt in attempts_of(self.store, self.folder):
            if read_outcome(self.store, self._attempt(attempt)) is None:
                self._cancel(attempt, grace)

    def end(self, grace: float) -> None:
        """Close every attempt that has not ended, and have it be ended. Does not wait for it."""
        for attempt in attempts_of(self.store, self.folder):
            if read_outcome(self.store, self._attempt(attempt)) is None:
                self.end_attempt(attempt, grace)

    def end_attempt(
        self, attempt: int, grace: float, cause: Cause = "CANCELLED", why: str = _CANCELLED
    ) -> None:
        """Close an attempt that nobody waits for, and have it be ended.

        One whose submission was never confirmed is looked for by its name: submitting it again
        could start what nobody wants. If it runs unfound, its runner finds that it is closed.
        """
        failure = Failure(cause=cause, type="Job", message=why)
        settle(self.store, self._attempt(attempt), failure)
        self._cancel(attempt, grace)

    def tidy(self) -> None:
        """Remove what ended attempts have left with the service."""
        for attempt in attempts_of(self.store, self.folder):
            self.tidy_attempt(attempt)

    def tidy_attempt(self, attempt: int, wait: float = 0.0) -> bool:
        """Remove what an ended attempt has left with the service; whether nothing is left.

        Args:
            attempt: Its number.
            wait: Seconds in which the service may end it, if it was told to.
        """
        folder = self._attempt(attempt)

        def tidy() -> bool:
            outcome = read_outcome(self.store, folder)
            if is_cleaned(self.store, folder):
                return True
            handle = self.handle(attempt)
            if handle is None:
                handle = self._look_for(attempt)
                if handle is None:
                    if outcome is not None:
                        mark_unknown(self.store, folder)
                    return True
                if outcome is not None and outcome.by == "client":
                    # Whoever closed it could not tell it to end.
                    self.backend.cancel(handle, self.request.task.grace)
            # A runner's own outcome is the last thing that it does; ours only says what we know.
            if outcome is None or (outcome.by == "client" and not self._ends(handle, wait)):
                return False
            if outcome.by == "client":
                self._if_possible("keeping its log", lambda: self._keep_log(handle, folder))
            self.backend.cleanup(handle)
            mark_cleaned(self.store, folder)
            return True

        return self._if_possible("tidying up after it", tidy) or False

    def _keep_log(self, handle: Handle, folder: str) -> None:
        """Store the service's log of a job whose runner never got so far as to write one."""
        if any(self.store.list(f"{folder}/log-")):
            return
        lines: list[str] = []
        page = self.backend.logs(handle)
        while page.lines and len(lines) < _LINES_KEPT:
            lines += page.lines
            page = self.backend.logs(handle, page.cursor)
        if lines:
            redact = Redactor(os.environ)
            text = "".join(f"{redact(line)}\n" for line in lines)
            # Ahead of all chunks that a runner writes.
            self.store.write(f"{folder}/log-{0:08d}.txt", text.encode("utf-8", "replace"))

    def handle(self, attempt: int) -> Handle | None:
        """How to find an attempt again; None if its submission was never confirmed."""
        return read_handle(self.store, self._attempt(attempt))

    def find(self, attempt: int) -> Handle | None:
        """The same; if it was never confirmed, the service is asked for a job of its name."""
        return self.handle(attempt) or self.backend.find(self.job(attempt))

    # -- waiting ---------------------------------------------------------------------------------

    def _ask(self) -> None:
        key, data = f"{self.folder}/request.json", canonical(self.request)
        self._patiently("writing the request", lambda: self.store.write_if_absent(key, data))

    def _see_through(self) -> None:
        used: Counter[str] = Counter()
        attempt = self.first
        while True:
            outcome = self._wait_for(attempt)
            failure = outcome.failure
            if failure is None:
                return
            if failure.cause == "CANCELLED":
                raise self._was_cancelled(attempt)
            used[failure.cause] += 1
            # What an earlier client, or another one beside us, has gone on from is past.
            if self._last_attempt() == attempt:
                self._prepare_retry(attempt, failure, used[failure.cause])
            attempt += 1

    def _prepare_retry(self, attempt: int, failure: Failure, used: int) -> None:
        allowed = self.backend.retries_for(failure.cause)
        if used > allowed:
            raise self._failed(failure, attempt)
        if self.request.task.step is None:
            # The engine of the failed attempt took its own end for the run's.
            key = f"runs/{self.request.task.run}/outcome.json"
            self._patiently("reopening the run", lambda: self.store.delete(key))
        delay = self.backend.retry_delay * 2 ** (used - 1)
        delay *= random.uniform(0.8, 1.2)  # noqa: S311 - so that many jobs do not retry at once
        self._tell(
            f"{self._where(attempt)} failed ({failure.cause}: {failure.message}); trying again in "
            f"{delay:.0f} s, {used} of {allowed}"
        )
        self._pause(delay)
        if self._asked_to_cancel():
            raise self._was_cancelled(attempt)

    def _wait_for(self, attempt: int) -> JobOutcome:
        """Wait for the end of an attempt, whatever kind of end that is."""
        folder = self._attempt(attempt)
        outcome = self._patiently("looking at it", lambda: read_outcome(self.store, folder))
        if outcome is None:
            # A client that vanished between submission and the handle left an attempt without one.
            begun = self._begin(attempt)
            outcome = self._watch(attempt, begun) if isinstance(begun, Handle) else begun
        self._looked()
        outcome = self._as_the_service_knows_it(attempt, outcome)
        grace = self.request.task.grace
        given_up = outcome.by == "client" and not self._cancelling
        self.tidy_attempt(attempt, grace + _ENDING_TAKES if given_up else 0.0)
        return outcome

    def _as_the_service_knows_it(self, attempt: int, outcome: JobOutcome) -> JobOutcome:
        """An outcome with its true cause, where a runner only knew that it was asked to end.

        To a runner, a job that is cancelled with the service, or has had its time there, looks like
        a machine that is taken away. The first is taken for the wish to end the run.
        """
        failure, handle = outcome.failure, self.handle(attempt)
        if failure is None or handle is None or self._cancelling:
            return outcome
        if failure.cause == "PREEMPTED" and outcome.by == "runner":
            state = self._if_possible("asking why it ended", lambda: self.backend.poll(handle))
            if state is not None and state.cause in ("CANCELLED", "TIMEOUT"):
                failure = Failure(
                    cause=state.cause, type="Job", message=state.message, remedy=state.remedy
                )
        if failure.cause == "CANCELLED":
            request_cancel(self.store, self.request.task.run)
        return msgspec.structs.replace(outcome, failure=failure)

    def _watch(self, attempt: int, handle: Handle) -> JobOutcome:
        watch = Watch(
            self.backend,
            self.store,
            self._attempt(attempt),
            handle,
            grace=self.request.task.grace,
            cancelled=self._asked_to_cancel,
            tell=lambda text: self._tell(f"{handle.job}: {text}"),
        )
        look = _FIRST_LOOK
        while True:
            outcome = watch.look()
            if outcome is not None:
                return outcome
            if watch.cancelling and not self._cancelling:
                self._cancelling = True
                look = _FIRST_LOOK
            self._looked()
            self._pause(look)
            look = min(look * 1.5, _LAST_LOOK)

    def _pause(self, seconds: float) -> None:
        """Wait; no longer than it takes to hear that the job is to be cancelled."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._stopping() and not self._cancelling:
                return
            threading.Event().wait(min(left, 0.5))

    # -- cancelling ------------------------------------------------------------------------------

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Have Ctrl-C cancel the job, and a second one leave at once; it is raised either way."""
        with self._interrupt:
            try:
                yield
            except RunCancelledError as error:
                if self._interrupt.asked:
                    raise KeyboardInterrupt(error.message) from None
                raise
            except KeyboardInterrupt:
                self.forced = True
                self._if_possible("ending it", self._force)
                raise
        if self._interrupt.asked:
            raise KeyboardInterrupt("it had ended before it could be cancelled")

    def _force(self) -> None:
        request_cancel(self.store, self.request.task.run)
        self.end(0.0)
        self.tidy()

    def _tell_of_interrupt(self) -> None:
        self._tell(f"cancelling {self._title()}; {AGAIN}")

    def _stopping(self) -> bool:
        """Whether somebody in this process wants the job to end."""
        return self._interrupt.asked or self._cancelled()

    def _asked_to_cancel(self, *, now: bool = False) -> bool:
        """Whether anybody wants that; then everybody can see it. ``now``: as of this moment."""
        if self._stopping():
            request_cancel(self.store, self.request.task.run)
            return True
        return self._look_whether_asked() if now else self._asked()

    def _look_whether_asked(self) -> bool:
        return cancel_requested(self.store, self.request.task.run)

    def _cancel(self, attempt: int, grace: float) -> None:
        def end() -> None:
            handle = self.handle(attempt) or self._look_for(attempt)
            if handle is not None:
                self.backend.cancel(handle, grace)

        self._if_possible("ending it", end)

    def _look_for(self, attempt: int) -> Handle | None:
        """Ask the service for an attempt that has no handle, and give it the one that is found."""
        found = self.backend.find(self.job(attempt))
        return found and store_handle(self.store, self._attempt(attempt), found)

    # -- attempts --------------------------------------------------------------------------------

    def _attempt(self, number: int) -> str:
        return f"{self.folder}/{number}"

    def _title(self) -> str:
        task = self.request.task
        return f"step '{task.step}' of run {task.run}" if task.step else f"run {task.run}"

    def _where(self, attempt: int) -> str:
        return f"{self._title()}, attempt {attempt}"

    def _last_attempt(self) -> int:
        found = self._patiently("looking at it", lambda: attempts_of(self.store, self.folder))
        return max(found, default=0)

    def job(self, attempt: int) -> Job:
        """The job as a service is asked to start it."""
        folder = self._attempt(attempt)
        task = self.request.task
        digest = write_task(self.store, folder, task)
        # What has a space in it is no version: the core's API number, the content of a module.
        versions = {name: found for name, found in task.requires.items() if " " not in found}
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
            requires={**versions, "zenml-core": task.core},
        )

    def _begin(self, attempt: int) -> Handle | JobOutcome:
        """Submit an attempt; what came of it instead, if it cannot be.

        Raises:
            JobFailedError: the backend refuses it; trying again would not help.
        """
        cause: Cause = "INFRA"
        refused: Exception | None = None
        try:
            return self._submit(attempt)
        except RunCancelledError as error:
            failure = Failure(cause="CANCELLED", type="Job", message=error.message)
        except TRANSIENT as error:
            message = f"it could not be submitted: {error}"
            failure = Failure(cause=cause, type=type(error).__name__, message=message)
        except StoreError:
            raise  # it takes no outcome either
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not stay open
            if isinstance(error, (ConfigurationError, BackendError)):
                cause = "CONFIG"
            said = error.message if isinstance(error, ZenMLError) else str(error)
            listed = str(error).partition("\n")[2] if isinstance(error, ConfigurationError) else ""
            message = f"it could not be submitted: {said}" + (f"\n{listed}" if listed else "")
            failure = Failure(cause=cause, type=type(error).__name__, message=message)
            refused = error
        # Closed, so that a job that was started after all does nothing.
        folder = self._attempt(attempt)
        outcome = self._patiently(
            "writing its outcome", lambda: settle(self.store, folder, failure)
        )
        if refused is not None:
            if cause == "CONFIG":  # in so many words, so there is nothing to look for
                self._if_possible("writing that down", lambda: mark_unknown(self.store, folder))
            remedy = getattr(refused, "remedy", None)
            raise JobFailedError(failure, where=self._where(attempt), remedy=remedy) from refused
        return outcome

    def _submit(self, attempt: int) -> Handle:
        """Submit an attempt and store its handle. Doing it twice gives the same job."""
        folder = self._attempt(attempt)

        def submit() -> Handle:
            known = self.handle(attempt)
            if known is not None:
                return known
            job = self.job(attempt)
            # Asked after the task was written: whoever cancels the run now finds this attempt.
            if self._asked_to_cancel(now=True):
                raise self._was_cancelled(attempt)
            return self.backend.submit(job)

        handle = self._patiently("submitting it", submit)
        try:
            return self._patiently(
                "storing its handle", lambda: store_handle(self.store, folder, handle)
            )
        except StoreError:
            # Nobody else could find it, so it must not run on, nor leave anything.
            self._if_possible("ending it", lambda: self.backend.cancel(handle, 0.0))
            self._if_possible("tidying up after it", lambda: self.backend.cleanup(handle))
            raise

    def _ends(self, handle: Handle, wait: float) -> bool:
        """Whether the service says, within some seconds, that a job has ended."""
        deadline = time.monotonic() + wait
        while not self.backend.poll(handle).ended:
            if time.monotonic() >= deadline or self._stopping():
                self._tell(f"{handle.job} has not ended yet; 'zenml gc' tidies up after it")
                return False
            threading.Event().wait(0.5)
        return True

    # -- failures --------------------------------------------------------------------------------

    def _patiently(
        self, what: str, work: Callable[[], _Result], pauses: Iterable[float] | None = None
    ) -> _Result:
        """Do what may meet a store or a service that cannot be reached for now."""

        def failed(error: Exception, delay: float) -> None:
            said = f"{self._title()}: {what} failed for now: {error}"
            self._tell(f"{said}; trying again in {delay:g} s")

        return patiently(work, pauses, failed=failed, pause=self._pause)

    def _if_possible(self, what: str, work: Callable[[], _Result]) -> _Result | None:
        """Do what no result depends on, whatever comes of it."""
        try:
            # Whoever has pressed Ctrl-C twice waits for nothing.
            return self._patiently(what, work, () if self.forced else _BRIEFLY)
        except Exception as error:  # noqa: BLE001 - a backend's failure here fails no run
            self._tell(f"{self._title()}: {what} failed: {error}; 'zenml gc' does it later")
            return None

    def _failed(self, failure: Failure, attempt: int) -> JobFailedError:
        where, remedy = self._where(attempt), failure.remedy or _REMEDIES.get(failure.cause)
        return JobFailedError(failure, where=where, remedy=remedy)

    def _was_cancelled(self, attempt: int) -> RunCancelledError:
        return RunCancelledError(_CANCELLED, where=self._where(attempt))


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
