"""``zenml gc`` and jobs: those that nobody waits for are ended, and no other."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from zenml.core import ArtifactStore
from zenml.core._canonical import canonical
from zenml.core.errors import BackendError
from zenml.core.jobs import JobFailedError, JobRun
from zenml.core.jobs._task import read_outcome

Client = Callable[..., JobRun]


def end_run(job: JobRun, status: str = "failed") -> None:
    """Write the outcome of a job's run."""
    outcome = {"status": status, "finished": "2026-01-02T03:04:05Z", "seconds": 1.0}
    job.store.write(f"runs/{job.request.task.run}/outcome.json", canonical(outcome))


def age(store: Any) -> None:
    for path in store.root.rglob("*"):
        if path.name != "zenml-store.json":
            os.utime(path, (1_000_000_000, 1_000_000_000))


@pytest.fixture
def job(client: Client, begin_run: Callable[..., None], service: Any) -> JobRun:
    """A job that runs, of a run that goes on."""
    begin_run()
    made = client()
    made.start()
    return made


@pytest.fixture
def unconfirmed(client: Client, begin_run: Callable[..., None]) -> JobRun:
    """A job of a run that is over, whose client was killed while it submitted the first attempt."""
    begin_run()
    made = client()
    made._ask()
    made.job(1)
    end_run(made)
    return made


class TestJobsOfRunsThatAreOver:
    def test_one_that_still_runs_is_listed_and_ended_only_when_told_to(
        self, job: JobRun, service: Any, zenml: Any
    ) -> None:
        end_run(job)
        listed = zenml("gc", "--grace", "0").out
        assert f"{job.folder}/1" in listed
        assert "job of a run that has ended, still running on import:" in listed
        assert "'zenml gc --yes'" in listed
        assert service.running
        assert "ended and tidied up 1 of 1 jobs" in zenml("gc", "--grace", "0", "--yes").out
        assert not service.phases
        assert "jobs" not in zenml("gc", "--grace", "0", "--yes").out

    def test_one_that_ended_and_was_never_tidied_up_is(
        self, job: JobRun, service: Any, zenml: Any
    ) -> None:
        service.end(next(iter(service.jobs)), "succeeded")
        end_run(job, "succeeded")
        assert "never tidied up on" in zenml("gc", "--grace", "0", "--yes").out
        assert service.phases == {}
        assert service.count("cancel") == 1  # cancelling what has ended is no error

    def test_one_of_a_run_that_nobody_hears_of_is_lost(
        self, job: JobRun, service: Any, zenml: Any
    ) -> None:
        age(job.store)
        assert "job of a run that was lost, still running" in zenml("gc", "--yes").out
        outcome = read_outcome(job.store, f"{job.folder}/1")
        assert outcome is not None
        assert outcome.failure is not None
        assert outcome.failure.cause == "LOST"
        assert not service.phases

    def test_one_whose_submission_was_never_confirmed_is_closed_and_never_started(
        self, unconfirmed: JobRun, service: Any, zenml: Any
    ) -> None:
        assert "of whose submission nothing is known" in zenml("gc", "--grace", "0").out
        zenml("gc", "--grace", "0", "--yes")
        assert service.count("submit") == 0
        assert read_outcome(unconfirmed.store, f"{unconfirmed.folder}/1") is not None
        assert "jobs" not in zenml("gc", "--grace", "0", "--yes").out

    def test_one_whose_submission_was_never_confirmed_is_ended_where_there_is_one(
        self, unconfirmed: JobRun, service: Any, zenml: Any
    ) -> None:
        service.begin(unconfirmed.job(1))  # which its client has not heard of
        zenml("gc", "--grace", "0", "--yes")
        assert service.count("submit") == 0
        assert service.count("cancel") == 1
        assert service.phases == {}
        assert "jobs" not in zenml("gc", "--grace", "0", "--yes").out

    @pytest.mark.parametrize("there", [True, False], ids=["there", "gone"])
    def test_one_that_ended_without_a_handle_is_tidied_up(
        self, unconfirmed: JobRun, service: Any, zenml: Any, there: bool
    ) -> None:
        begun = unconfirmed.job(1)
        service.begin(begun)
        service.end(begun.name, "succeeded")
        if not there:
            service.phases.clear()
        end_run(unconfirmed, "succeeded")
        assert "ended and tidied up 1 of 1 jobs" in zenml("gc", "--grace", "0", "--yes").out
        assert service.phases == {}
        assert "jobs" not in zenml("gc", "--grace", "0", "--yes").out

    @pytest.mark.parametrize("answers", [0, 1, 2], ids=["to list", "to end", "to tidy up"])
    def test_a_service_that_cannot_be_asked_for_it_is_asked_again_by_the_next_sweep(
        self, unconfirmed: JobRun, service: Any, zenml: Any, answers: int
    ) -> None:
        service.begin(unconfirmed.job(1))
        service.troubles["find"] = [lambda: None] * answers + [BackendError("no")] * 9
        service.troubles["cleanup"] = [BackendError("no")] * 9
        zenml("gc", "--grace", "0", "--yes")
        assert service.phases
        service.troubles.clear()
        zenml("gc", "--grace", "0", "--yes")
        assert service.phases == {}

    def test_one_that_is_submitted_after_all_is_tidied_up_by_its_client(
        self, client: Client, begin_run: Callable[..., None], service: Any, zenml: Any
    ) -> None:
        """A machine that slept wakes up, when its run has long been taken for lost."""
        begin_run()
        job = client(retries={"LOST": 0})
        service.troubles["submit"] = [lambda: (age(job.store), zenml("gc", "--yes"))]
        service.fates = ["silent"]
        with pytest.raises(JobFailedError, match="nobody waited for it"):
            job.wait()
        assert service.count("submit") == 1
        assert service.phases == {}

    def test_one_that_is_submitted_after_all_is_found_by_the_next_sweep(
        self, unconfirmed: JobRun, service: Any, zenml: Any
    ) -> None:
        zenml("gc", "--grace", "0", "--yes")
        unconfirmed._submit(1)
        zenml("gc", "--grace", "0", "--yes")
        assert service.phases == {}


class TestJobsThatAreLeftAlone:
    @pytest.mark.parametrize("grace", ["0", "60"])
    def test_those_of_a_run_that_goes_on(
        self, job: JobRun, service: Any, zenml: Any, grace: str
    ) -> None:
        assert zenml("gc", "--grace", grace, "--yes").out == "nothing to collect\n"
        assert service.running

    def test_those_of_a_run_that_ended_a_moment_ago(
        self, job: JobRun, service: Any, zenml: Any
    ) -> None:
        end_run(job)
        assert zenml("gc", "--yes").out == "nothing to collect\n"
        assert service.running

    def test_one_that_waits_for_a_place_for_as_long_as_its_backend_allows(
        self, job: JobRun, service: Any, zenml: Any
    ) -> None:
        moment = os.stat(job.store.root).st_mtime - 600  # type: ignore[attr-defined]
        for path in job.store.root.rglob("runs/**/*.json"):  # type: ignore[attr-defined]
            os.utime(path, (moment, moment))
        assert zenml("gc", "--grace", "0", "--yes").out == "nothing to collect\n"
        assert service.running


class TestBackendsThatCannotBeAsked:
    def test_one_that_is_not_installed_is_a_line(
        self, job: JobRun, service: Any, zenml: Any
    ) -> None:
        key = f"{job.folder}/request.json"
        request = msgspec.json.decode(job.store.read(key))
        request["backend"]["type"] = "nowhere"
        job.store.write(key, canonical(request))
        end_run(job)
        said = zenml("gc", "--grace", "0", "--yes")
        assert said.code == 0
        [line] = [line for line in said.out.splitlines() if "nowhere" in line]
        assert line.startswith("1 job on backend 'nowhere' cannot be looked at: ")

    def test_one_whose_service_is_down_is_asked_once(
        self, client: Client, begin_run: Callable[..., None], service: Any, zenml: Any
    ) -> None:
        for number in range(3):
            run = f"2026010{number}-030405-000006-abcde{number}"
            begin_run(run)
            job = client(run=run)
            job.start()
            end_run(job)
        service.troubles["poll"] = [ConnectionError("no route to host")]
        said = zenml("gc", "--grace", "0", "--yes")
        assert said.code == 0
        assert "3 jobs on backend" in said.out
        assert "no route to host" in said.out
        assert len(service.running) == 3

    def test_the_record_of_a_job_that_is_left_is_kept_however_old(
        self, job: JobRun, service: Any, zenml: Any, store: ArtifactStore
    ) -> None:
        key = f"runs/{job.request.task.run}/run.json"
        store.write(key, store.read(key).replace(b'"started":"20', b'"started":"19'))
        end_run(job)
        age(store)
        service.troubles["poll"] = [ConnectionError("no route")]
        zenml("gc", "--runs-older-than", "1", "--yes")
        assert job.handle(1) is not None
        zenml("gc", "--runs-older-than", "1", "--yes")
        assert not service.phases
        zenml("gc", "--grace", "0", "--runs-older-than", "1", "--yes")
        assert list(store.list("runs/")) == []


class TestCode:
    def test_what_no_run_refers_to_goes_and_what_one_refers_to_stays(
        self, client: Client, begin_run: Callable[..., None], store: ArtifactStore, zenml: Any
    ) -> None:
        used, unused = "a" * 64, "b" * 64
        begin_run()
        job = client()
        task = msgspec.structs.replace(job.request.task, code=used)
        job.request = msgspec.structs.replace(job.request, task=task)
        job.start()
        for digest in (used, unused):
            store.write(f"code/{digest}.tar.gz", b"code")
        assert zenml("gc", "--yes").out == "nothing to collect\n"
        said = zenml("gc", "--grace", "0", "--yes").out
        assert "code that no run refers to" in said
        assert [found.key for found in store.list("code/")] == [f"code/{used}.tar.gz"]
