"""The job of a step, when an earlier engine of the run has had one already; and who asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from zenml.core import ArtifactStore, BackendConfig, Handle
from zenml.core._canonical import canonical
from zenml.core._clock import now
from zenml.core.contracts._job import Failure
from zenml.core.engine._as_job import end_jobs, job_from_store, wait_for
from zenml.core.jobs import CancelLook, JobFailedError, JobRun, request_cancel
from zenml.core.jobs._task import JobOutcome, read_outcome
from zenml.core.plugins._registry import get_registry

RUN = "20260102-030405-000006-abcdef"

Client = Callable[..., JobRun]


@pytest.fixture
def steps_job(client: Client) -> Callable[..., JobRun]:
    """Makes the job of a step, with a key of its own."""

    def make(key: str = "one", step: str = "work") -> JobRun:
        job = client()
        task = msgspec.structs.replace(job.request.task, step=step, key=key)
        return JobRun(job.backend, job.store, msgspec.structs.replace(job.request, task=task))

    return make


def wait(job: JobRun, *, committed: bool = False) -> None:
    """Wait for it as an engine does."""

    def no() -> bool:
        return False

    wait_for(job.backend, job.store, job.request, no, no, lambda: committed)


def damaged(job: JobRun, attempt: int) -> None:
    """Have an attempt end because of what it was given."""
    failure = Failure(cause="INFRA", type="IntegrityError", message="not those bytes")
    outcome = JobOutcome(status="failed", attempt=attempt, failure=failure, finished=now())
    job.store.write(f"{job.folder}/{attempt}/outcome.json", canonical(outcome))


def test_what_runs_is_waited_for(steps_job: Any, service: Any) -> None:
    steps_job().start()
    service.troubles["poll"] = [
        lambda: service.end(next(iter(service.jobs)), "succeeded"),
    ]
    wait(steps_job())
    assert service.count("submit") == 1


def test_a_success_whose_result_is_there_stands(steps_job: Any, service: Any) -> None:
    service.fates = ["succeeded"]
    wait(steps_job())
    wait(steps_job(), committed=True)
    assert service.count("submit") == 1


def test_a_success_whose_result_was_removed_is_had_again(steps_job: Any, service: Any) -> None:
    service.fates = ["succeeded", "succeeded"]
    wait(steps_job())
    wait(steps_job())
    assert service.count("submit") == 2


def test_a_failure_stands(steps_job: Any, service: Any) -> None:
    service.fates = ["USER_ERROR"]
    for _ in range(2):
        with pytest.raises(JobFailedError, match="USER_ERROR"):
            wait(steps_job())
    assert service.count("submit") == 1


def test_what_was_given_something_damaged_is_given_it_anew(steps_job: Any, service: Any) -> None:
    steps_job().start()
    damaged(steps_job(), 1)
    service.fates = ["succeeded"]
    wait(steps_job())
    assert service.count("submit") == 2


def test_work_at_something_else_is_ended_and_not_waited_for(
    steps_job: Any, service: Any, store: ArtifactStore
) -> None:
    steps_job("one").start()
    service.fates = ["succeeded"]
    wait(steps_job("another"))
    folder = steps_job().folder
    first, second = (read_outcome(store, f"{folder}/{attempt}") for attempt in (1, 2))
    assert first is not None
    assert first.failure is not None
    assert first.failure.cause == "CANCELLED"
    assert second is not None
    assert second.status == "succeeded"
    assert not service.running


def test_it_is_found_again_with_the_backend_of_steps(
    steps_job: Any, store: ArtifactStore, split: BackendConfig
) -> None:
    job = steps_job()
    asked = msgspec.structs.replace(job.request, backend=split)
    store.write(f"{job.folder}/request.json", canonical(asked))
    found = job_from_store(store, get_registry(), job.folder)
    assert found.backend.timeout == 7.0


def test_many_jobs_are_ended_though_one_of_them_cannot_be(
    steps_job: Any, store: ArtifactStore, service: Any
) -> None:
    jobs = [steps_job(step=f"step-{number}") for number in range(20)]
    for job in jobs:
        job.start()
    store.write(f"{jobs[7].folder}/request.json", b"{")
    told: list[str] = []
    end_jobs(store, get_registry(), RUN, 1.0, told.append)
    assert len(service.running) == 1
    assert len(told) == 1
    assert "cannot be ended" in told[0]


def test_many_waiters_look_once_whether_the_run_is_cancelled(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    listed = store.list

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        return listed(*arguments, **options)

    monkeypatch.setattr(store, "list", counted)
    look = CancelLook(store, RUN)
    assert not any(look() for _ in range(100))
    assert looks == 1
    request_cancel(store, RUN)
    monkeypatch.setattr(look, "_EVERY", 0.0)
    assert look()
    assert look()
    assert looks == 2, "what is known is looked up again"


def test_a_handle_is_the_attempts_own(steps_job: Any, service: Any) -> None:
    service.fates = ["succeeded", "succeeded"]
    wait(steps_job())
    wait(steps_job())
    first, second = (steps_job().handle(attempt) for attempt in (1, 2))
    assert isinstance(first, Handle)
    assert isinstance(second, Handle)
    assert first.job != second.job
