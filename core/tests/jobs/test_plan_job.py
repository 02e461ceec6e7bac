"""A run that is one job, when it is over and not all that belongs to it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from zenml.core import ArtifactStore, BackendConfig
from zenml.core.engine._as_job import attach, see_plan_through
from zenml.core.engine._records import Outcome, read_outcome, write_outcome
from zenml.core.jobs import JobFailedError, JobRun
from zenml.core.plugins._registry import Registry, get_registry

RUN = "20260102-030405-000006-abcdef"
DONE = Outcome(status="succeeded", finished="2026-01-02T03:04:06Z", seconds=1.0)

Client = Callable[..., JobRun]


@pytest.fixture
def registry() -> Registry:
    return get_registry()


def trainers_job(job: JobRun) -> JobRun:
    """A job of one step of the same run."""
    task = msgspec.structs.replace(job.request.task, step="train")
    request = msgspec.structs.replace(job.request, task=task)
    return JobRun(job.backend, job.store, request)


def test_a_runner_that_is_lost_after_the_last_step_does_not_make_a_failure_of_a_success(
    client: Client, service: Any, store: ArtifactStore, registry: Registry, begin_run: Any
) -> None:
    begin_run()
    write_outcome(store, RUN, DONE)
    service.fates = ["LOST"]

    see_plan_through(client(retries={"LOST": 0}), registry)

    assert read_outcome(store, RUN) == DONE


def test_one_that_is_lost_before_it_is_a_failure(
    client: Client, service: Any, store: ArtifactStore, registry: Registry, begin_run: Any
) -> None:
    begin_run()
    service.fates = ["LOST"]

    with pytest.raises(JobFailedError, match="LOST"):
        see_plan_through(client(retries={"LOST": 0}), registry)

    outcome = read_outcome(store, RUN)
    assert outcome is not None
    assert outcome.status == "failed"


def test_an_outcome_that_cannot_be_read_is_written_again(
    client: Client, service: Any, store: ArtifactStore, registry: Registry, begin_run: Any
) -> None:
    begin_run()
    store.write(f"runs/{RUN}/outcome.json", b'{"status":')
    service.fates = ["succeeded"]

    see_plan_through(client(), registry)

    outcome = read_outcome(store, RUN)
    assert outcome is not None
    assert outcome.status == "succeeded"


def test_a_failure_is_recorded_though_the_runs_beginning_cannot_be_read(
    client: Client, service: Any, store: ArtifactStore, registry: Registry, begin_run: Any
) -> None:
    begin_run()
    store.write(f"runs/{RUN}/run.json", b'{"run":')
    service.fates = ["USER_ERROR"]

    with pytest.raises(JobFailedError):
        see_plan_through(client(), registry)

    outcome = read_outcome(store, RUN)
    assert outcome is not None
    assert outcome.status == "failed"


def test_whoever_waits_for_a_run_that_has_ended_tidies_up_after_it(
    client: Client, service: Any, store: ArtifactStore, registry: Registry, begin_run: Any
) -> None:
    begin_run()
    service.fates = ["succeeded"]
    client().start()  # and its client vanishes
    write_outcome(store, RUN, DONE)

    attach(store, registry, RUN)

    assert service.count("cleanup") == 1
    attach(store, registry, RUN)
    assert service.count("cleanup") == 1


def test_a_run_that_succeeded_has_done_so_also_where_its_backend_is_not_installed(
    client: Client, service: Any, store: ArtifactStore, registry: Registry, begin_run: Any
) -> None:
    begin_run()
    job = client()
    job.start()
    request = msgspec.structs.replace(job.request, backend=BackendConfig("nowhere"))
    store.write(f"{job.folder}/request.json", msgspec.json.encode(request))
    write_outcome(store, RUN, DONE)

    attach(store, registry, RUN)


def test_a_trainers_job_that_a_later_attempt_had_no_need_of_is_tidied_up(
    client: Client, service: Any, store: ArtifactStore, registry: Registry, begin_run: Any
) -> None:
    begin_run()
    client().start()
    left = trainers_job(client()).start()
    service.end(left.job, "succeeded")
    for name in service.running:
        service.end(name, "PREEMPTED")
    service.fates = ["succeeded"]

    see_plan_through(client(), registry)

    assert f"cleanup {left.job}" in service.asked
