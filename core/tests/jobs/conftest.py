"""A service in memory, and a backend for it: what becomes of a job is what the test says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zenml.core import (
    ArtifactStore,
    Handle,
    Job,
    JobOrchestratorBackend,
    JobState,
    LogPage,
    open_store,
)
from zenml.core._canonical import canonical
from zenml.core._clock import now
from zenml.core.contracts._backend import BackendConfig
from zenml.core.contracts._job import Cause, Failure, Phase
from zenml.core.engine._records import RunLog, RunStarted
from zenml.core.jobs import JobRequest, JobRun
from zenml.core.jobs._task import JobOutcome, Task
from zenml.core.sources import reference

RUN = "20260102-030405-000006-abcdef"


class Service:
    """Jobs by name, how they stand, and what the service was asked.

    Attributes:
        fates: What becomes of the jobs to come: ``succeeded`` or a cause, as their runner writes
            it; ``silent`` for one that fails and says nothing; ``running`` for one that goes on
            until it is cancelled.
        causes: Why a job ended, as the service itself knows it.
        remedies: What the service has to say about that.
        printed: The log of a job that never got so far as to write one to the store.
        troubles: Verb to what is raised by the next calls; a function is called instead.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store
        self.phases: dict[str, Phase] = {}
        self.jobs: dict[str, Job] = {}
        self.fates: list[str] = []
        self.troubles: dict[str, list[Exception | Callable[[], None]]] = defaultdict(list)
        self.asked: list[str] = []
        self.printed: dict[str, list[str]] = defaultdict(list)
        self.graces: list[float] = []
        self.causes: dict[str, Cause] = {}
        self.remedies: dict[str, str] = {}

    def count(self, verb: str) -> int:
        """How many calls got through."""
        return sum(asked.startswith(f"{verb} ") for asked in self.asked)

    @property
    def running(self) -> list[str]:
        return [name for name, phase in self.phases.items() if phase in ("pending", "running")]

    def meet(self, verb: str, name: str, *, late: bool = False) -> None:
        """Raise what the test has in store for this call."""
        if self.troubles[verb]:
            trouble = self.troubles[verb].pop(0)
            if not callable(trouble):
                raise trouble
            trouble()
        if not late:
            self.asked.append(f"{verb} {name}")

    def begin(self, job: Job) -> None:
        if job.name in self.jobs:
            return
        self.jobs[job.name] = job
        self.phases[job.name] = "running"
        fate = self.fates.pop(0) if self.fates else "running"
        if fate != "running":
            self.end(job.name, fate)

    def end(self, name: str, fate: str) -> None:
        """Have a job end, with an outcome as its runner would write it."""
        job, failed = self.jobs[name], fate != "succeeded"
        if fate == "silent":
            self.phases[name] = "failed"
            return
        failure = Failure(cause=fate, type="Test", message="the test says so")  # type: ignore[arg-type]
        outcome = JobOutcome(
            status="failed" if failed else "succeeded",
            attempt=job.attempt,
            failure=failure if failed else None,
            finished=now(),
        )
        self.store.write_if_absent(f"{job.folder}/outcome.json", canonical(outcome))
        self.phases[name] = "failed" if failed else "succeeded"


#: By the folder of their project; a backend is made anew wherever it is needed.
services: dict[str, Service] = {}


class InMemory(JobOrchestratorBackend):
    """Asks a service of this process."""

    service: str = ""

    @property
    def _service(self) -> Service:
        return services[self.service]

    def render(self, job: Job) -> Any:
        return {"name": job.name}

    def submit(self, job: Job) -> Handle:
        self._service.meet("submit", job.name)
        self._service.begin(job)
        self._service.meet("answer", job.name, late=True)
        return Handle(job=job.name)

    def find(self, job: Job) -> Handle | None:
        self._service.meet("find", job.name)
        return Handle(job=job.name) if job.name in self._service.phases else None

    def poll(self, handle: Handle) -> JobState:
        self._service.meet("poll", handle.job)
        phase = self._service.phases.get(handle.job, "gone")
        cause, remedy = (
            told.get(handle.job) for told in (self._service.causes, self._service.remedies)
        )
        return JobState(phase=phase, cause=cause, remedy=remedy)

    def logs(self, handle: Handle, cursor: str = "") -> LogPage:
        self._service.meet("logs", handle.job)
        read = int(cursor or 0)
        lines = self._service.printed[handle.job][read : read + 2]
        return LogPage(tuple(lines), str(read + len(lines)))

    def cancel(self, handle: Handle, grace: float) -> None:
        self._service.meet("cancel", handle.job)
        self._service.graces.append(grace)
        if handle.job in self._service.running:
            if grace:
                self._service.end(handle.job, "CANCELLED")
            self._service.phases[handle.job] = "gone"

    def cleanup(self, handle: Handle) -> None:
        self._service.meet("cleanup", handle.job)
        self._service.phases.pop(handle.job, None)


class OfSteps(InMemory):
    """Has another backend for the steps."""

    def step_backend(self) -> InMemory:
        return InMemory(service=self.service, timeout=7.0)


@pytest.fixture
def split(service: Service, project: Path) -> BackendConfig:
    """An orchestrator with a backend for steps, whose timeout is 7 seconds."""
    backend = OfSteps(service=str(project))
    return BackendConfig(f"import:{reference(OfSteps)}", backend.parameters())


@pytest.fixture
def store(project: Path) -> ArtifactStore:
    """The project's artifact store."""
    made = open_store((project / ".zenml" / "store").as_uri())
    made.prepare()
    return made


@pytest.fixture
def service(store: ArtifactStore, project: Path) -> Service:
    """The service that ``client`` uses."""
    return services.setdefault(str(project), Service(store))


@pytest.fixture
def client(service: Service, store: ArtifactStore, project: Path) -> Callable[..., JobRun]:
    """Makes clients of one job; ``told`` is what each is told."""

    def make(told: list[str] | None = None, run: str = RUN, **options: Any) -> JobRun:
        settings = {"service": str(project), "retry_delay": 0.01, **options}
        backend = InMemory(**settings)
        request = JobRequest(
            kind="orchestrator",
            backend=BackendConfig(f"import:{reference(InMemory)}", backend.parameters()),
            pipeline="tested",
            task=Task(core="0.1.0", run=run, plan="0" * 64, grace=3.0),
        )
        return JobRun(backend, store, request, tell=(told if told is not None else []).append)

    return make


@pytest.fixture
def begin_run(store: ArtifactStore) -> Callable[..., None]:
    """Writes down that a run begins."""

    def begin(run: str = RUN, **changes: Any) -> None:
        given: dict[str, Any] = {
            "run": run,
            "pipeline": "tested",
            "plan": "0" * 64,
            "orchestrator": "in-memory",
            "started": now(),
            "host": "elsewhere",
            "pid": 1,
            "remote": True,
        }
        RunLog(store, run).begin(RunStarted(**{**given, **changes}))

    return begin
