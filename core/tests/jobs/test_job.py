"""What a service is told about a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zenml.core import (
    BackendConfig,
    Handle,
    Job,
    JobOrchestratorBackend,
    JobState,
    LogPage,
    open_store,
)
from zenml.core.jobs import JobRequest, JobRun
from zenml.core.jobs._task import Task


class Nowhere(JobOrchestratorBackend):
    """Renders what it is asked for, and starts nothing."""

    def render(self, job: Job) -> Any:
        return job

    def submit(self, job: Job) -> Handle:
        return Handle(job=job.name)

    def poll(self, handle: Handle) -> JobState:
        return JobState(phase="gone")

    def logs(self, handle: Handle, cursor: str = "") -> LogPage:
        return LogPage((), cursor)

    def cancel(self, handle: Handle, grace: float) -> None: ...

    def cleanup(self, handle: Handle) -> None: ...


def test_it_names_the_distributions_to_install_in_versions_that_an_installer_knows(
    tmp_path: Path,
) -> None:
    store = open_store(str(tmp_path / "store"))
    store.prepare()
    # The core counts by its API, a compiled module of no distribution by its content.
    required = {"zenml-core": "api 1", "polars": "2.1.0", "fast": "sha256 " + "0" * 64}
    task = Task(core="0.1.3", run="r", plan="0" * 64, requires=required)
    request = JobRequest(
        kind="orchestrator", backend=BackendConfig("nowhere"), pipeline="p", task=task
    )

    job = JobRun(Nowhere(), store, request).job(1)

    assert job.requires == {"polars": "2.1.0", "zenml-core": "0.1.3"}
