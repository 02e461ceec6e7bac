"""Looks at one attempt until it is clear how it ended.

Ages are taken between two readings of one monotonic clock, ours, so that clocks that differ, or are
set, do not matter.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from zenml.core.contracts._job import Cause, Failure, Handle, JobBackend, JobState
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import ObjectNotFoundError, StoreError
from zenml.core.jobs._attempts import settle
from zenml.core.jobs._task import JobOutcome, read_outcome

__all__ = ["CANCEL_TAKES", "LOST_AFTER", "Watch"]

#: Seconds without a sign of life after which a job that should be running is lost.
LOST_AFTER = 90.0

#: Seconds between looks for one, which are fewer than looks for an outcome: runners give one every
#: ten seconds.
_SIGNS_EVERY = 5.0

#: Seconds that an outcome may need to become visible after the service has seen the end.
_OUTCOME_DELAY = 5.0

#: Seconds that a service may need, beyond the grace, to end what it was told to end.
CANCEL_TAKES = 120.0

#: Seconds without an answer after which waiting for one is of no use any more.
_UNANSWERED_FOR = 600.0


class Watch:
    """One attempt, seen from a client.

    Args:
        backend: Carries it.
        store: Holds everything about it.
        folder: Where that is.
        handle: How the service finds it.
        grace: Seconds that it is given to stop by itself.
        cancelled: Whether it is to be cancelled.
        tell: Told in words when something changes that a user wants to know.

    Attributes:
        cancelling: Whether the service has been told to end it.
    """

    def __init__(
        self,
        backend: JobBackend,
        store: ArtifactStore,
        folder: str,
        handle: Handle,
        *,
        grace: float,
        cancelled: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> None:
        self._backend = backend
        self._store = store
        self._folder = folder
        self._handle = handle
        self._grace = grace
        self._cancelled = cancelled
        self._tell = tell
        self._submitted = self._heard_at = self._sign_at = time.monotonic()
        self._running_since: float | None = None
        self._sign: bytes | None = None
        self._signs_at = float("-inf")
        self._ended_at: float | None = None
        self._cancelled_at: float | None = None
        self._said = ""

    @property
    def cancelling(self) -> bool:
        return self._cancelled_at is not None

    def look(self) -> JobOutcome | None:
        """One look; the attempt's outcome if it has one now."""
        try:
            outcome = read_outcome(self._store, self._folder)
            if outcome is not None:
                return outcome
            self._see_sign_of_life()
            if not self.cancelling and self._cancelled():
                self._cancel()
            outcome = self._judge(self._backend.poll(self._handle))
        except (StoreError, ConnectionError, TimeoutError) as error:
            return self._unanswered(error)
        self._heard_at = time.monotonic()
        return outcome

    def _cancel(self) -> None:
        try:
            self._backend.cancel(self._handle, self._grace)
        except (ConnectionError, TimeoutError):
            raise  # tried again with the next look
        except Exception as error:  # noqa: BLE001 - the runner has been asked too, and will end
            self._say(f"the service cannot cancel it: {error}")
        self._cancelled_at = time.monotonic()

    def _unanswered(self, error: Exception) -> JobOutcome | None:
        """A store or service that does not answer says nothing about the job; not for ever."""
        self._say(f"cannot be looked at for now: {error}")
        moment = time.monotonic()
        # What keeps us from the store may keep the runner from it too.
        self._sign_at = moment
        silence = moment - self._heard_at
        if silence < _UNANSWERED_FOR:
            return None
        if isinstance(error, StoreError):
            raise error
        silent = f"no sign of life for {silence:.0f} s"
        return self._give_up("LOST", f"{silent}, and the service does not answer: {error}")

    def _see_sign_of_life(self) -> None:
        moment = time.monotonic()
        if moment - self._signs_at < _SIGNS_EVERY:
            return
        # One object, and no listing: a job that prints for days has very many chunks of log.
        sign = None
        with contextlib.suppress(ObjectNotFoundError):
            sign = self._store.read(f"{self._folder}/alive.json")
        self._signs_at = moment
        if sign != self._sign:
            self._sign = sign
            self._sign_at = self._heard_at = moment

    def _judge(self, state: JobState) -> JobOutcome | None:
        moment = time.monotonic()
        if state.ended:
            return self._judge_end(state, moment)
        if self._cancelled_at is not None:
            late = moment - self._cancelled_at
            if late > self._grace + CANCEL_TAKES:
                words = f"the run was cancelled; the job is {state.phase} {late:.0f} s later"
                return self._settle("CANCELLED", words)
            return None
        if state.phase == "pending":
            if state.message:
                self._say(state.message + (f"; {state.remedy}" if state.remedy else ""))
            limit = self._backend.pending_timeout
            if state.hopeless or moment - self._submitted > limit:
                late_words = f"it found no place to run within {limit:.0f} s"
                cause, words = state.cause or "UNSCHEDULABLE", state.message or late_words
                return self._give_up(cause, words, state.remedy)
            return None
        if self._running_since is None:
            self._running_since = self._sign_at = moment
        timeout = self._backend.timeout
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
        if self.cancelling:
            return self._settle("CANCELLED", "the run was cancelled")
        if state.phase == "failed" and state.cause is not None:
            said = state.message or "the service says no more"
            return self._settle(state.cause, said, state.remedy)
        words = {
            "gone": "the job vanished and left no outcome",
            "succeeded": "the service says that it succeeded, and it left no outcome",
            "failed": "the job failed and left no outcome",
        }
        return self._settle("LOST", state.message or words[state.phase], state.remedy)

    def _give_up(self, cause: Cause, message: str, remedy: str | None = None) -> JobOutcome:
        """Close an attempt that will not end well by itself, and have it ended.

        In this order: a runner that lives, and that the service cannot end, ends itself then.
        """
        outcome = self._settle(cause, message, remedy)
        try:
            self._backend.cancel(self._handle, self._grace)
        except Exception as error:  # noqa: BLE001 - it is closed whatever the service says
            self._say(f"cannot be ended: {error}; 'zenml gc' finds it later")
        return outcome

    def _settle(self, cause: Cause, message: str, remedy: str | None = None) -> JobOutcome:
        failure = Failure(cause=cause, type="Job", message=message, remedy=remedy)
        seconds = time.monotonic() - self._submitted
        return settle(self._store, self._folder, failure, seconds=seconds)

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._tell(text)
