"""What orchestrators and training backends have in common: runs, and the life of a job."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zenml.core.contracts._backend import Backend
from zenml.core.contracts._job import Handle, Job, JobBackend
from zenml.core.engine._run import Run
from zenml.core.errors import RunCancelledError, RunError, StepFailedError
from zenml.core.jobs import JobFailedError, request_cancel
from zenml.core.stores._open import open_store
from zenml.core.testing import _user_code
from zenml.core.testing._backends import BackendConformance
from zenml.core.testing._cases import case
from zenml.core.testing._job_bench import Asked, JobBench
from zenml.core.testing._processes import nothing_left_behind, wait_until
from zenml.core.testing._user_project import UserProject, new_marks, said_by

__all__ = ["JobConformance", "handles_of", "run_of"]

#: No retries.
_NEVER: dict[str, int] = {"LOST": 0, "INFRA": 0, "PREEMPTED": 0, "EVICTED": 0}

_ANSWER = _user_code.ANSWER * (1 + 7)


class JobConformance(BackendConformance):
    """Cases for orchestrators and training backends.

    Those that need ``job`` are for backends that derive from ``JobBackend``; a backend that works
    in the process of its client has no jobs, and is not asked for any.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls) -> float:
        """Seconds that anything may take before the suite calls it a hang."""
        return 120.0

    @pytest.fixture(scope="class")
    @classmethod
    def backend_without_image(cls) -> JobBackend | None:
        """The same, with an image (or whatever holds the code's environment) that is not there.

        For backends that declare ``image``.
        """
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def backend_without_room(cls) -> JobBackend | None:
        """The same, asking for more than the service will ever have.

        For backends that declare ``queue``.
        """
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def backend_that_waits(cls) -> JobBackend | None:
        """The same, whose jobs find no room while the fixture lasts. For those with ``queue``."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def backend_with_little_memory(cls) -> JobBackend | None:
        """The same, with some 500 MB of memory for a job. For backends that declare ``memory``."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def golden(cls) -> tuple[JobBackend, Path] | None:
        """A backend, and the JSON file that holds what it renders; None to do without.

        If there is no such file, the suite writes it, and fails once so that somebody reads it.
        """
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, project: UserProject, store_url: str, patience: float) -> JobBench:
        """What the cases put to the backend."""
        return JobBench(cls.kind, project, store_url, patience)  # type: ignore[arg-type]

    @pytest.fixture(scope="class")
    @classmethod
    def quick(cls, backend: Backend) -> Any:
        """The backend, with hardly any delay before a retry."""
        if isinstance(backend, JobBackend):
            return backend.replace(retry_delay=0.05)
        return backend

    # -- runs ------------------------------------------------------------------------------------

    @case()
    def test_a_run_succeeds_with_the_right_values(self, bench: JobBench, quick: Any) -> None:
        """Inputs and outputs find their way there and back."""
        run = bench.run(quick)
        assert run.status == "succeeded"
        assert run.load("sum") == _ANSWER

    @case()
    def test_results_are_the_same_bytes_as_in_one_process(
        self, bench: JobBench, quick: Any, tmp_path: Path
    ) -> None:
        """The same plan gives the same digests, wherever it ran."""
        marks = new_marks()
        elsewhere = open_store((tmp_path / "elsewhere").as_uri())
        there = bench.run(quick, marks=marks)
        here = bench.run(None, marks=marks, store=elsewhere)
        assert _digests(there) == _digests(here)

    @case()
    def test_what_is_finished_is_not_done_again(self, bench: JobBench, quick: Any) -> None:
        """A second run, here or there, finds the results of the first."""
        marks = new_marks()
        bench.run(quick, marks=marks)
        begun = bench.marks(marks)
        for backend in (quick, None):
            again = bench.run(backend, marks=marks)
            assert {record.status for record in again.steps.values()} == {"cached"}
        assert bench.marks(marks) == begun, "work was done again"

    @case()
    def test_an_error_comes_back_with_the_users_own_traceback(
        self, bench: JobBench, quick: Any
    ) -> None:
        """The client raises what happened, where, in the user's words; it is not tried again."""
        marks = new_marks()
        with pytest.raises(StepFailedError) as caught:
            bench.run(quick, "raise", marks)
        assert caught.value.step == "right"
        assert f"ValueError: no good: {_user_code.ODD_LINE}" in str(caught.value)
        assert 'raise ValueError(f"no good' in (caught.value.traceback_text or "")
        run = Run(caught.value.run_id, bench.store)
        assert run.status == "failed"
        assert run.steps["right"].failure is not None
        assert run.steps["right"].failure.cause == "USER_ERROR"
        assert run.steps["sum"].status == "skipped"
        assert bench.marks(marks) == 2, "a user's error was tried again"

    @case()
    def test_edited_code_is_what_runs(
        self, bench: JobBench, quick: Any, project: UserProject
    ) -> None:
        """Neither an image nor a cache keeps the code of yesterday."""
        marks = new_marks()
        assert bench.ask_client("run", quick, how="fine", marks=marks) == _ANSWER
        before = project.file.read_text(encoding="utf-8")
        try:
            edited = before.replace(f"\nANSWER = {_user_code.ANSWER}\n", "\nANSWER = 1000\n")
            project.file.write_text(edited, encoding="utf-8")
            assert bench.ask_client("run", quick, how="fine", marks=marks) == 8000
        finally:
            project.file.write_text(before, encoding="utf-8")

    @case()
    def test_names_may_be_long_and_in_any_script(self, bench: JobBench, quick: Any) -> None:
        """What the author of a pipeline calls things is no concern of a service's rules."""
        run = bench.run(quick, name="Prüfung 尺寸 🎈/" * 20, step="a_name-of-" * 6)
        assert run.load("sum") == _ANSWER

    @case()
    def test_two_runs_in_one_process_do_not_mix(self, bench: JobBench, quick: Any) -> None:
        """Each has its own end."""
        ends: dict[str, Any] = {}

        def run(how: str) -> None:
            try:
                ends[how] = bench.run(quick, how).load("sum")
            except RunError as error:
                ends[how] = str(error)

        threads = [threading.Thread(target=run, args=(how,)) for how in ("fine", "raise")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(bench.patience)
        assert ends.get("fine") == _ANSWER
        assert "no good" in str(ends.get("raise"))

    @case()
    def test_a_run_leaves_nothing_behind(self, bench: JobBench, quick: Any) -> None:
        """No thread, process or open file of the client outlives it, nor does a variable."""
        bench.run(quick)  # what is made once and kept, is made now
        before, folder = dict(os.environ), Path.cwd()
        with nothing_left_behind():
            bench.run(quick)
        assert dict(os.environ) == before
        assert Path.cwd() == folder

    @case()
    def test_ctrl_c_ends_what_was_started(self, bench: JobBench, quick: Any) -> None:
        """Who presses it pays for no more work, and the run says that it was cancelled."""
        marks = new_marks()
        client = bench.client("run", quick, how="sleep", marks=marks)
        try:
            bench.wait_for_marks(marks, 2)
            client.send_signal(signal.SIGINT)
            if not isinstance(quick, JobBackend):
                # Work in the client's own process cannot be ended but with the process itself.
                threading.Event().wait(1.0)
                client.send_signal(signal.SIGINT)
            said_by(client, bench.patience)
        finally:
            client.kill()
            client.communicate()
        run = run_of(bench, marks)
        try:
            assert run.status == "cancelled", f"the run is {run.status}"
            for handle in handles_of(bench, run):
                assert bench.end_of(quick, handle).ended
        finally:
            for handle in handles_of(bench, run):
                bench.cancel(quick, handle, 0.0)

    @case()
    def test_a_secret_of_the_client_stays_with_it(
        self, bench: JobBench, quick: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is in no record, handle, specification or log, though the work prints all it sees."""
        secret = "a-value-not-to-be-seen-anywhere"  # noqa: S105 - made up
        monkeypatch.setenv("CONFORMANCE_SECRET_TOKEN", secret)
        said = [repr(quick)]
        if isinstance(quick, JobBackend):
            asked = bench.ask(quick, "environment")
            handle = asked.run.start()
            bench.end_of(quick, handle)
            said += [json.dumps(quick.render(asked.run.job(1))), str(msgspec.to_builtins(handle))]
            said += bench.logs(quick, handle).lines
            bench.wait(asked)
            assert "environment" in bench.log(asked)
        else:
            bench.run(quick, "environment")
        assert secret not in "\n".join(said)
        for found in bench.store.list(""):
            if not found.key.startswith("code/"):
                assert secret.encode() not in bench.store.read(found.key), found.key

    @case()
    @pytest.mark.parametrize("skew", [-1e7, 1e7])
    def test_a_wrong_clock_changes_nothing(self, bench: JobBench, quick: Any, skew: float) -> None:
        """Clients, services and stores do not agree on the time."""
        marks = new_marks()
        assert bench.ask_client("run", quick, how="fine", marks=marks, skew=skew) == _ANSWER

    # -- how a job ends --------------------------------------------------------------------------

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_job_succeeds_once_and_is_tidied_up(self, bench: JobBench, quick: JobBackend) -> None:
        """Its runner wrote the outcome, and the service has nothing left of it."""
        asked = bench.ask(quick)
        bench.wait(asked)
        outcome = bench.outcome(asked)
        assert (outcome.status, outcome.by, outcome.exit_code) == ("succeeded", "runner", 0)
        assert bench.marks(asked.marks) == 1
        handle = asked.run.handle(1)
        assert handle is not None
        state = bench.end_of(quick, handle)
        assert state.phase in ("succeeded", "gone"), state
        assert not bench.logs(quick, handle).lines, "cleanup() left the job's log with the service"

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_users_error_is_one(self, bench: JobBench, quick: JobBackend) -> None:
        """USER_ERROR, with the user's own traceback, and no second attempt."""
        failure = self._failure(bench, quick, "raise")
        assert failure.cause == "USER_ERROR"
        assert "no good" in failure.message
        assert "raise ValueError" in failure.traceback

    @case(needs="job", otherwise="skip", tier="required")
    @pytest.mark.parametrize("how", ["exit", "exit 0"])
    def test_work_that_ends_without_a_word_has_failed(
        self, bench: JobBench, quick: JobBackend, how: str
    ) -> None:
        """Whatever its exit code: no outcome is no success."""
        assert self._failure(bench, quick, how).cause in ("USER_ERROR", "LOST")

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_memory_error_is_out_of_memory(self, bench: JobBench, quick: JobBackend) -> None:
        """OOM, and no second attempt, which would need no less."""
        assert self._failure(bench, quick, "memory error").cause == "OOM"

    @case(needs="memory", otherwise="skip")
    def test_work_that_takes_too_much_memory_is_ended(
        self, bench: JobBench, backend_with_little_memory: JobBackend
    ) -> None:
        """OOM: the limit that the user gave is kept, and named as the cause."""
        assert self._failure(bench, backend_with_little_memory, "fill memory").cause == "OOM"

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_machine_that_is_taken_away_is_a_preemption(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """PREEMPTED; another attempt goes on and succeeds."""
        asked = bench.ask(quick, "taken away once")
        bench.wait(asked)
        failure = bench.outcome(asked, 1).failure
        assert failure is not None
        assert failure.cause == "PREEMPTED", failure
        assert bench.outcome(asked, 2).status == "succeeded"

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_job_that_vanishes_is_lost(self, bench: JobBench, quick: JobBackend) -> None:
        """LOST, never a success, and tried again as often as was allowed."""
        asked = bench.ask(quick.replace(retries=_NEVER), "vanish")
        with pytest.raises(JobFailedError) as caught:
            bench.wait(asked)
        assert caught.value.failure.cause in ("LOST", "INFRA"), caught.value.failure
        assert bench.marks(asked.marks) == 1, "no retry was allowed"

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_job_that_vanishes_once_is_tried_again(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """Under another name, so that the first attempt cannot be taken for the second."""
        asked = bench.ask(quick, "vanish once")
        bench.wait(asked)
        assert bench.outcome(asked, 2).status == "succeeded"
        first, second = asked.run.handle(1), asked.run.handle(2)
        assert first is not None
        assert second is not None
        assert first != second

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_job_that_takes_too_long_is_ended(self, bench: JobBench, quick: JobBackend) -> None:
        """TIMEOUT, and it does not run on."""
        limited = quick.replace(timeout=2.0)
        asked = bench.ask(limited, "sleep")
        with pytest.raises(JobFailedError) as caught:
            bench.wait(asked)
        assert caught.value.failure.cause == "TIMEOUT"
        handle = asked.run.handle(1)
        assert handle is not None
        bench.end_of(quick, handle)

    @case(needs="image", otherwise="skip")
    def test_an_environment_that_is_not_there_is_named(
        self, bench: JobBench, backend_without_image: JobBackend
    ) -> None:
        """IMAGE, at once: waiting will not make it."""
        asked = bench.ask(backend_without_image.replace(retries=_NEVER))
        with pytest.raises(JobFailedError) as caught:
            bench.wait(asked)
        assert caught.value.failure.cause == "IMAGE", caught.value.failure
        assert bench.marks(asked.marks) == 0

    @case(needs="queue", otherwise="skip")
    def test_a_request_that_can_never_be_met_is_refused(
        self, bench: JobBench, backend_without_room: JobBackend
    ) -> None:
        """UNSCHEDULABLE, with the reason, and nothing is left waiting."""
        asked = bench.ask(backend_without_room)
        with pytest.raises(JobFailedError) as caught:
            bench.wait(asked)
        failure = caught.value.failure
        assert failure.cause == "UNSCHEDULABLE", failure
        assert failure.message, "it does not say why"
        self._ended(bench, backend_without_room, asked)

    @case(needs="queue", otherwise="skip")
    def test_a_job_that_waits_too_long_is_given_up(
        self, bench: JobBench, backend_that_waits: JobBackend
    ) -> None:
        """UNSCHEDULABLE; it does not begin behind everybody's back later."""
        impatient = backend_that_waits.replace(pending_timeout=1.0)
        asked = bench.ask(impatient)
        with pytest.raises(JobFailedError) as caught:
            bench.wait(asked)
        assert caught.value.failure.cause == "UNSCHEDULABLE", caught.value.failure
        self._ended(bench, backend_that_waits, asked)

    @case(needs="queue", otherwise="skip")
    def test_a_job_that_waits_is_cancelled(
        self, bench: JobBench, backend_that_waits: JobBackend
    ) -> None:
        """Before it began: it never does."""
        asked = bench.ask(backend_that_waits)
        handle = asked.run.start()
        assert bench.poll(backend_that_waits, handle).phase == "pending"
        bench.cancel(backend_that_waits, handle, 1.0)
        self._ended(bench, backend_that_waits, asked)

    @case(needs="job", otherwise="skip", tier="required")
    def test_an_environment_that_differs_is_reported_before_work_begins(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """CONFIG, naming the distribution, before any of the user's code has run."""
        asked = bench.ask(quick, requires={"no-such-distribution": "1.0"})
        with pytest.raises(JobFailedError) as caught:
            bench.wait(asked)
        assert caught.value.failure.cause in ("CONFIG", "IMAGE"), caught.value.failure
        assert "no-such-distribution" in str(caught.value)
        assert bench.marks(asked.marks) == 0

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_runner_of_another_protocol_says_so(self, bench: JobBench, quick: JobBackend) -> None:
        """CONFIG, naming both versions."""
        asked = bench.ask(quick, protocol=999)
        with pytest.raises(JobFailedError) as caught:
            bench.wait(asked)
        assert caught.value.failure.cause == "CONFIG", caught.value.failure
        assert "999" in str(caught.value)

    # -- cancelling ------------------------------------------------------------------------------

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_running_job_is_cancelled(self, bench: JobBench, quick: JobBackend) -> None:
        """It ends, and whoever waits for the run that was cancelled hears so."""
        asked = bench.ask(quick, "sleep")
        handle = asked.run.start()
        bench.wait_for_marks(asked.marks)
        bench.cancel(quick, handle, 5.0)
        bench.end_of(quick, handle)
        request_cancel(bench.store, asked.run.request.task.run)
        with pytest.raises(RunCancelledError):
            bench.wait(asked)

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_job_is_cancelled_as_soon_as_it_is_submitted(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """Whatever it was doing then, it ends."""
        asked = bench.ask(quick, "sleep")
        handle = asked.run.start()
        bench.cancel(quick, handle, 0.0)
        bench.end_of(quick, handle)

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_job_is_cancelled_by_another_process(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """Which has nothing but the backend's parameters and the handle."""
        asked = bench.ask(quick, "sleep")
        handle = asked.run.start()
        bench.wait_for_marks(asked.marks)
        bench.ask_client("end", quick, handle=msgspec.to_builtins(handle))
        assert bench.poll(quick, handle).ended

    @case(needs="job", otherwise="skip", tier="required")
    def test_cancelling_what_has_ended_is_no_error(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """Nor is doing it twice, nor tidying up twice; the outcome stays what it was."""
        asked = bench.ask(quick)
        handle = asked.run.start()
        bench.end_of(quick, handle)
        for _ in range(2):
            bench.cancel(quick, handle, 0.0)
        for _ in range(2):
            bench.cleanup(quick, handle)
        bench.cancel(quick, handle, 0.0)
        assert bench.end_of(quick, handle).ended
        bench.wait(asked)
        assert bench.outcome(asked).status == "succeeded"

    # -- finding a job again ---------------------------------------------------------------------

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_name_that_is_submitted_twice_is_one_job(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """A client that was not sure whether it got through may ask again."""
        asked = bench.ask(quick, "sleep a little")
        job = asked.run.job(1)
        found = bench.find(quick, job)
        assert found is None, f"find() found {found}, which was never submitted"
        first = asked.run.start()
        second = bench.submit(quick, job)
        assert first == second
        found = bench.find(quick, job)
        assert found in (None, first), f"submit() gave {first}, and find() {found}"
        bench.wait(asked)
        third = bench.marks(asked.marks)
        assert third == 1, f"the work began {third} times"

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_name_that_two_submit_at_once_is_one_job(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """One client is on another machine, both get a handle, and the work begins once."""
        asked = bench.ask(quick, "sleep a little")
        job = asked.run.job(1)
        client = bench.client("submit", quick, job=msgspec.to_builtins(job))
        handles: list[Handle] = []
        threads = [
            threading.Thread(target=lambda: handles.append(bench.submit(quick, job)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(bench.patience)
        output, errors = said_by(client, bench.patience)
        assert client.returncode == 0, errors
        handles.append(msgspec.json.decode(output.splitlines()[-1], type=Handle))
        assert len(handles) == 4
        for handle in handles:
            bench.end_of(quick, handle)
            assert handle == handles[0], "two of them got different handles"
        bench.wait(asked)
        begun = bench.marks(asked.marks)
        assert begun == 1, f"the work began {begun} times"

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_handle_finds_the_job_from_another_process(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """Nothing that finds a job is kept in a client's memory."""
        asked = bench.ask(quick, "sleep")
        handle = asked.run.start()
        state = bench.ask_client("look", quick, handle=msgspec.to_builtins(handle))
        assert state["phase"] in ("pending", "running"), state
        bench.cancel(quick, handle, 0.0)
        bench.end_of(quick, handle)

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_handle_is_plain_and_small(self, bench: JobBench, quick: JobBackend) -> None:
        """It is an object in the store, and names its job."""
        asked = bench.ask(quick)
        handle = asked.run.start()
        data = msgspec.json.encode(handle)
        assert msgspec.json.decode(data, type=Handle) == handle
        assert handle.job == asked.run.job(1).name
        assert len(data) < 10_000
        assert asked.run.handle(1) == handle
        bench.wait(asked)

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_job_that_nobody_knows_is_gone(self, bench: JobBench, quick: JobBackend) -> None:
        """No call fails over a job that was removed long ago."""
        asked = bench.ask(quick)
        handle = asked.run.start()
        bench.wait(asked)
        bench.cleanup(quick, handle)
        assert bench.poll(quick, handle).ended
        bench.logs(quick, handle)
        bench.cancel(quick, handle, 0.0)
        bench.cleanup(quick, handle)

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_detached_run_outlives_its_client(self, bench: JobBench, quick: JobBackend) -> None:
        """Another one waits for it."""
        marks = new_marks()
        if self.kind == "training":
            # A trainer's run is its orchestrator's: what can outlive the client is the job.
            asked = bench.ask(quick, "sleep a little")
            job = msgspec.to_builtins(asked.run.job(1))
            bench.ask_client("submit", quick, job=job)
            bench.wait(asked)
            assert bench.marks(asked.marks) == 1
            return
        run = bench.ask_client("detach", quick, how="sleep a little", marks=marks)
        bench.ask_client("wait", quick, run=run)
        assert Run(run, bench.store).load("sum") == _ANSWER

    @case(needs="job", otherwise="skip", tier="required")
    def test_states_only_go_forward(self, bench: JobBench, quick: JobBackend) -> None:
        """pending, running, ended; and an end stays what it is."""
        order = {"pending": 0, "running": 1, "succeeded": 2, "failed": 2, "gone": 3}
        asked = bench.ask(quick, "raise")
        handle = asked.run.start()
        seen: list[str] = []

        def look() -> bool:
            seen.append(bench.poll(quick, handle).phase)
            return bench.poll(quick, handle).ended

        wait_until(look, timeout=bench.patience, what="the end of the job")
        seen += [bench.poll(quick, handle).phase for _ in range(3)]
        seen = [phase for phase, _ in groupby(seen)]
        assert [order[phase] for phase in seen] == sorted(order[phase] for phase in seen), seen
        assert "succeeded" not in seen, "the work failed"
        with pytest.raises(JobFailedError):
            bench.wait(asked)

    # -- logs ------------------------------------------------------------------------------------

    @case(needs="job", otherwise="skip", tier="required")
    def test_what_the_work_prints_is_in_the_store(self, bench: JobBench, quick: JobBackend) -> None:
        """All of it, in order, in any script; bytes that are no text do no harm."""
        asked = bench.ask(quick, "print")
        bench.wait(asked)
        log = bench.log(asked)
        numbered = [line for line in log.splitlines() if line.startswith("line ")]
        wanted = [f"line {number:05d} {_user_code.ODD_LINE}" for number in range(2000)]
        assert numbered == wanted
        assert "x" * 100_000 in log
        assert "the last line, without an end" in log

    @case(needs="logs")
    def test_the_service_has_a_log(self, bench: JobBench, quick: JobBackend) -> None:
        """For jobs that never get as far as the store."""
        asked = bench.ask(quick)
        handle = asked.run.start()
        bench.end_of(quick, handle)
        lines, _ = _pages(bench, quick, handle)
        assert any("work begins" in line for line in lines), lines
        bench.wait(asked)

    @case(needs="logs")
    def test_a_log_is_read_on_from_where_another_stopped(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """No line is lost, none comes twice, and the cursor is good in another process."""
        asked = bench.ask(quick, "print")
        handle = asked.run.start()
        lines: list[str] = []
        cursor = ""
        while not bench.poll(quick, handle).ended:
            page = bench.logs(quick, handle, cursor)
            lines += page.lines
            cursor = page.cursor
        more, cursor = _pages(bench, quick.replace(), handle, cursor)
        lines += more
        numbers = [line[5:10] for line in lines if line.startswith("line ")]
        assert numbers == [f"{number:05d}" for number in range(2000)]
        assert not bench.logs(quick, handle, cursor).lines, "the last cursor gives lines again"
        bench.wait(asked)

    # -- specifications --------------------------------------------------------------------------

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_specification_is_exact_and_offline(
        self, bench: JobBench, quick: JobBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A plan shows it to a reader who has no network: plain data, the same each time."""

        def refuse(*_: object, **__: object) -> Any:
            raise AssertionError("render() used the network")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        job = example_job(self.kind)
        spec = quick.render(job)
        assert json.loads(json.dumps(spec, ensure_ascii=False)) == spec, "it is not plain data"
        assert type(quick)(**quick.parameters()).render(job) == spec

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_specification_starts_the_runner_and_names_the_job(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """With the words of ``Job.command()``, in their order, as words."""
        job = example_job(self.kind)
        spec = quick.render(job)
        words = list(job.command()[1:])
        assert any(_holds(found, words) for found in _lists(spec)), (
            f"no list in the specification holds {words}"
        )
        assert job.name in json.dumps(spec)

    @case(needs="job", otherwise="skip")
    def test_the_specification_is_the_one_that_was_agreed(
        self, golden: tuple[JobBackend, Path] | None
    ) -> None:
        """What changes in it is seen by whoever reads the change."""
        if golden is None:
            pytest.skip("the fixture 'golden' names no file")
        backend, path = golden
        text = json.dumps(backend.render(example_job(self.kind)), indent=2, ensure_ascii=False)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
            pytest.fail(f"{path.name} was not there and has been written: read it, and keep it")
        agreed = json.loads(path.read_text(encoding="utf-8"))
        assert json.loads(text) == agreed, f"delete {path.name} if the new one is right"

    # -- helpers ---------------------------------------------------------------------------------

    @staticmethod
    def _failure(bench: JobBench, backend: JobBackend, how: str) -> Any:
        asked = bench.ask(backend.replace(retries=_NEVER), how)
        with pytest.raises(JobFailedError) as caught:
            bench.wait(asked)
        assert bench.marks(asked.marks) == 1, "it was tried again"
        assert bench.outcome(asked).failure == caught.value.failure
        assert "work begins" in bench.log(asked), "what the work had printed is not in the store"
        return caught.value.failure

    @staticmethod
    def _ended(bench: JobBench, backend: JobBackend, asked: Asked) -> None:
        handle = asked.run.handle(1)
        assert handle is not None
        bench.end_of(backend, handle)
        assert bench.marks(asked.marks) == 0, "the work began all the same"


def example_job(kind: str) -> Job:
    """A job that never ran, for specifications."""
    run = "20260102-030405-000006-abcdef"
    step = "train" if kind == "training" else None
    folder = f"runs/{run}/jobs/{'step.train-0123456789ab' if step else 'plan'}/1"
    return Job(
        name="zenml-0102030405000006abcdef-1",
        run=run,
        pipeline="Prüfung 尺寸",
        step=step,
        attempt=1,
        store="file:///store",
        folder=folder,
        digest="0" * 64,
        timeout=3600.0,
    )


def _digests(run: Run) -> dict[str, Any]:
    return {name: (record.key, record.outputs) for name, record in sorted(run.steps.items())}


def run_of(bench: JobBench, marks: str) -> Run:
    """The run whose plan leaves those marks."""
    for found in bench.store.list("runs/"):
        if found.key.endswith("/run.json"):
            run = Run(found.key.split("/")[1], bench.store)
            if marks.encode() in run.plan.encoded:
                return run
    raise AssertionError("the run left no record")


def handles_of(bench: JobBench, run: Run, job: str = "") -> list[Handle]:
    """The handles of a run's jobs, or of the one in that folder."""
    return [
        msgspec.json.decode(bench.store.read(found.key), type=Handle)
        for found in list(bench.store.list(f"runs/{run.id}/jobs/{job}"))
        if found.key.endswith("/handle.json")
    ]


def _pages(
    bench: JobBench, backend: JobBackend, handle: Handle, cursor: str = ""
) -> tuple[list[str], str]:
    lines: list[str] = []
    while True:
        page = bench.logs(backend, handle, cursor)
        lines += page.lines
        if not page.lines:
            return lines, page.cursor
        assert len(lines) < 10_000, "logs() gives lines again and again"
        cursor = page.cursor


def _lists(spec: Any) -> list[list[Any]]:
    if isinstance(spec, dict):
        return [found for value in spec.values() for found in _lists(value)]
    if isinstance(spec, list):
        return [spec, *(found for value in spec for found in _lists(value))]
    return []


def _holds(found: list[Any], words: list[str]) -> bool:
    size = len(words)
    return any(found[start : start + size] == words for start in range(len(found) - size + 1))
