"""Jobs: work that a remote service carries. What a backend for one has to do, and nothing more.

A backend says how a job is started, looked at, ended and tidied up. Everything else is the core's,
once for all of them: the task and its code, handles, waiting, retries, deadlines, logs, outcomes.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from zenml.core.contracts._backend import (
    Backend,
    OrchestratorBackend,
    PlanWork,
    StepWork,
    TrainingBackend,
)

__all__ = [
    "Cause",
    "Failure",
    "Handle",
    "Job",
    "JobBackend",
    "JobOrchestratorBackend",
    "JobState",
    "JobTrainingBackend",
    "LogPage",
    "Phase",
]

#: Why something failed, wherever it ran.
Cause = Literal[
    "USER_ERROR",
    "OOM",
    "PREEMPTED",
    "EVICTED",
    "IMAGE",
    "UNSCHEDULABLE",
    "CONFIG",
    "TIMEOUT",
    "CANCELLED",
    "LOST",
    "INFRA",
]

Phase = Literal["pending", "running", "succeeded", "failed", "gone"]


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why something failed.

    Attributes:
        cause: The typed cause.
        type: The exception's class.
        message: What it says.
        traceback: The user's own frames, as text.
        remedy: What to do about it, where that follows from more than the cause.
    """

    cause: Cause
    type: str
    message: str
    traceback: str = ""
    remedy: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a task, as a service is asked to start it. Plain data, no secrets.

    Attributes:
        name: Unique among all attempts of all runs; lower-case letters, digits and ``-``, at most
            63 characters, ending in what makes it unique.
        run: The run that it belongs to.
        pipeline: The pipeline's name, as its author wrote it.
        step: The step's name; None if the job is the plan: the whole of it, or the engine that has
            a job for each step and waits for them.
        attempt: 1, 2, …
        store: URL of the artifact store.
        folder: Key prefix of everything that this attempt writes about itself.
        digest: SHA-256 of the task, which is ``<folder>/task.json`` in the store.
        timeout: Seconds after which the job must not run any more; None for no limit.
        requires: Distributions that its environment needs, with their versions where the plan was
            made: zenml-core, what the plan's steps import, and what its backends come from. What
            those need in turn is not named.
    """

    name: str
    run: str
    pipeline: str
    step: str | None
    attempt: int
    store: str
    folder: str
    digest: str
    timeout: float | None = None
    requires: dict[str, str] = {}

    def command(self, python: str = "python") -> tuple[str, ...]:
        """What the remote environment has to start. It is all that it has to be told."""
        runner = ("-m", "zenml.core.runner")
        task = ("--store", self.store, "--task", f"{self.folder}/task.json")
        return (python, *runner, *task, "--digest", self.digest)


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """Finds a job again, from any process on any machine. Stored before the job is first looked at.

    Attributes:
        job: The job's name.
        data: Whatever the backend needs to find it; plain data, no secrets.
    """

    job: str
    data: dict[str, Any] = {}


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """How the service says that a job stands. The outcome in the artifact store goes before it.

    Attributes:
        phase: ``gone`` means that the service knows no such job any more.
        cause: Why it failed, or why it is still pending, if the service says. ``CANCELLED`` from
            the moment that somebody cancels it with the service: then the run ends, too.
        message: The same in words, for people.
        remedy: What to do about it.
        hopeless: A pending job that will never start by itself, such as one whose image is missing.
    """

    phase: Phase
    cause: Cause | None = None
    message: str = ""
    remedy: str | None = None
    hopeless: bool = False

    @property
    def ended(self) -> bool:
        """Whether the service will not change its mind any more."""
        return self.phase in ("succeeded", "failed", "gone")


class LogPage(msgspec.Struct, frozen=True):
    """Some lines of a job's log.

    Attributes:
        lines: The lines, without their ends.
        cursor: Where the next page begins; opaque, and good in any process.
    """

    lines: tuple[str, ...]
    cursor: str


#: Retries by cause. What the user's own code or configuration did is never tried again unasked.
DEFAULT_RETRIES: dict[str, int] = {"PREEMPTED": 3, "EVICTED": 3, "INFRA": 2, "LOST": 1}


class JobBackend(Backend):
    """Base class of backends whose work a service carries.

    A service that cannot be reached for now is ``ConnectionError`` or ``TimeoutError``, from any of
    the methods below: the core tries again. Anything else that ``submit`` raises is a refusal, and
    ends the run.

    Args:
        timeout: Seconds that one attempt may run; None for no limit.
        pending_timeout: Seconds that one attempt may wait for a place to run.
        retries: How often an attempt is followed by another, by cause of its failure; causes that
            are not named keep their defaults.
        retry_delay: Seconds before the first retry; each further one waits twice as long.
    """

    timeout: Annotated[float, Meta(gt=0)] | None = None
    pending_timeout: Annotated[float, Meta(gt=0)] = 1800.0
    retries: dict[Cause, Annotated[int, Meta(ge=0)]] = {}  # noqa: RUF012 - copied for each one
    retry_delay: Annotated[float, Meta(ge=0)] = 5.0

    def retries_for(self, cause: Cause) -> int:
        """How many retries that cause is worth."""
        return self.retries.get(cause, DEFAULT_RETRIES.get(cause, 0))

    @abstractmethod
    def render(self, job: Job) -> Any:
        """The exact specification that ``submit`` would send. Offline; plain data."""

    @abstractmethod
    def submit(self, job: Job) -> Handle:
        """Start the job. Submitting one name twice must give the same job, not a second one."""

    def find(self, job: Job) -> Handle | None:
        """The handle of a job that was submitted; None if the service has none of that name.

        Starts nothing. Asked by whoever tidies up after a client that ended between submitting a
        job and storing its handle. Where a backend cannot tell, as by default, such a job is left
        to its runner, which finds that nobody wants it any more.
        """
        return None

    @abstractmethod
    def poll(self, handle: Handle) -> JobState:
        """How the job stands. A job that is not known is ``gone``, not an error."""

    @abstractmethod
    def logs(self, handle: Handle, cursor: str = "") -> LogPage:
        """What the service has of the job's log, from a cursor on.

        The log in the artifact store goes before it; this is for jobs that never got so far.
        """

    @abstractmethod
    def cancel(self, handle: Handle, grace: float) -> None:
        """End the job, with ``grace`` seconds for it to stop by itself. Ended or gone: no error."""

    @abstractmethod
    def cleanup(self, handle: Handle) -> None:
        """Remove what is left of an ended job. Gone: no error."""


class JobOrchestratorBackend(OrchestratorBackend, JobBackend):
    """Base class of orchestrators that run a plan as one job."""

    def run(self, work: PlanWork) -> None:
        work.execute_as_job(self)


class JobTrainingBackend(TrainingBackend, JobBackend):
    """Base class of training backends that run a trainer as one job."""

    def train(self, work: StepWork) -> None:
        work.execute_as_job(self)
