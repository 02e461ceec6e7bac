"""Orchestrators that are sound but for one defect each; what they prove holds for trainers too."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from proofs import Proof, suites_of

from zenml.core import Handle, JobState, LogPage, open_store
from zenml.core._canonical import canonical, sha256
from zenml.core.errors import RunError
from zenml.core.jobs._task import PROTOCOL, JobOutcome
from zenml.core.testing import OrchestratorConformance, case_names
from zenml.core.testing._backends import BackendConformance
from zenml.local import OrchestratorSubprocessBackend

changed = msgspec.structs.replace


class Sound(OrchestratorSubprocessBackend):
    """What the others are made of."""


class Base(OrchestratorConformance):
    make: ClassVar[Any] = Sound

    @pytest.fixture(scope="class")
    @classmethod
    def work_folder(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("jobs")
        yield folder
        _end_processes(str(folder))

    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, tmp_path_factory):
        url = (tmp_path_factory.mktemp("store") / "artifacts").as_uri()
        yield url
        _end_processes(url)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, work_folder):
        return cls.make(work_folder=str(work_folder))

    @pytest.fixture(scope="class")
    @classmethod
    def capabilities(cls):
        return frozenset({"image", "job", "logs", "memory", "parallel", "queue", "steps"})

    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls):
        return 20.0

    @pytest.fixture(scope="class")
    @classmethod
    def backend_without_image(cls, work_folder):
        return cls.make(work_folder=str(work_folder), python="/no/such/python")

    @pytest.fixture(scope="class")
    @classmethod
    def backend_without_room(cls, work_folder):
        return cls.make(work_folder=str(work_folder), memory="65536TiB")

    @pytest.fixture(scope="class")
    @classmethod
    def backend_with_little_memory(cls, work_folder):
        return cls.make(work_folder=str(work_folder), memory="500MiB")

    @pytest.fixture(scope="class")
    @classmethod
    def backend_that_waits(cls, tmp_path_factory):
        full = tmp_path_factory.mktemp("full")
        (full / ".slots").mkdir()
        with open(full / ".slots" / "plan-0", "w") as slot:
            fcntl.flock(slot, fcntl.LOCK_EX)
            yield cls.make(work_folder=str(full), max_jobs=1)

    @pytest.fixture(scope="class")
    @classmethod
    def backend_with_steps(cls, work_folder):
        # The engine in a job of its own asks the broken class for the steps' jobs.
        classes = {"PYTHONPATH": os.environ["PYTHONPATH"]}
        return cls.make(work_folder=str(work_folder), isolation="step", environment=classes)

    @pytest.fixture(scope="class")
    @classmethod
    def golden(cls, tmp_path_factory):
        path = tmp_path_factory.mktemp("golden") / "spec.json"
        from zenml.core.testing._jobs import example_job

        sound = Sound(python="python3", work_folder="/srv/jobs")
        path.write_bytes(msgspec.json.encode(sound.render(example_job("orchestrator"))))
        return cls.make(python="python3", work_folder="/srv/jobs"), path


def _end_processes(place: str) -> None:
    """End what works for a store or a folder of ours: a broken backend leaves jobs behind."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if place.encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)


# -- runs ----------------------------------------------------------------------------------------


class SaysThatItRan(Sound):
    """Says that it ran a plan, and did not."""

    def run(self, work):
        pass


class RunsWhatItRemembers(Sound):
    """Keeps the code that it met first, and runs that."""

    def run(self, work):
        code = sys.modules["conformance_code"]
        first = Path(self.work_folder) / "answer"
        if not first.exists():
            first.write_text(str(code.ANSWER))
        code.ANSWER = int(first.read_text())
        work.execute_here()


class RunsWhatIsInMemory(Sound):
    """Runs whatever is in memory, not what was planned."""

    def run(self, work):
        code = sys.modules["conformance_code"]
        code.ANSWER += 1
        try:
            work.execute_here()
        finally:
            code.ANSWER -= 1


class BeginsFromNothing(Sound):
    """Begins each run with an empty cache."""

    def run(self, work):
        store = open_store(work.store_url)
        for found in list(store.list("cache/")):
            store.delete(found.key)
        super().run(work)


class SaysOnlyThatItFailed(Sound):
    """Says that something failed, and not what."""

    def run(self, work):
        try:
            super().run(work)
        except RunError:
            raise RunError("the job failed") from None


class NamesFoldersByPipeline(Sound):
    """Names its folders as the user named the pipeline."""

    def render(self, job):
        name = job.pipeline.replace("/", "-")
        return {**super().render(job), "folder": f"{self.work_folder}/{name}"}


class NamesJobsByPipeline(Sound):
    """Gives all jobs of a pipeline one name."""

    def retries_for(self, cause):
        return 0

    def submit(self, job):
        return super().submit(changed(job, name=f"zenml-{sha256(job.pipeline.encode())[:12]}-1"))


class WatchesForEver(Sound):
    """Watches each job from a thread that never ends."""

    def submit(self, job):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return super().submit(job)


class LeavesWhenInterrupted(Sound):
    """Leaves its job alone when it is interrupted."""

    def run(self, work):
        waiting = threading.Thread(target=super().run, args=(work,), daemon=True)
        waiting.start()
        waiting.join()


class SendsTheEnvironment(Sound):
    """Sends all of the client's environment along."""

    def render(self, job):
        return {**super().render(job), "environment": dict(os.environ)}


class TrustsTheClock(Sound):
    """Takes a job for gone whose folder looks old to the client."""

    def poll(self, handle):
        with contextlib.suppress(OSError):
            if time.time() - os.stat(handle.data["folder"]).st_mtime > 3600:
                return JobState(phase="gone")
        return super().poll(handle)


# -- how a job ends ------------------------------------------------------------------------------


class TidiesNothingUp(Sound):
    """Leaves what it has of a job where it is."""

    def cleanup(self, handle):
        pass


class TriesEverythingAgain(Sound):
    """Tries again what can only fail again."""

    def retries_for(self, cause):
        return 1


class SaysSuccessAtOnce(Sound):
    """Writes down success when a job has been accepted."""

    def submit(self, job):
        outcome = JobOutcome(status="succeeded", attempt=job.attempt, finished="")
        open_store(job.store).write_if_absent(f"{job.folder}/outcome.json", canonical(outcome))
        return super().submit(job)


class HasNoLimits(Sound):
    """Does not pass on how much memory a job may take."""

    def render(self, job):
        return {**super().render(job), "memory": None}


class GivesUpAtOnce(Sound):
    """Gives up when a machine is taken away."""

    def retries_for(self, cause):
        return 0


class DoesNotCount(Sound):
    """Tries more often than it was allowed to."""

    def retries_for(self, cause):
        return 1


class MistakesAttempts(TidiesNothingUp):
    """Finds the first attempt when it is asked for the second."""

    def submit(self, job):
        return super().submit(changed(job, name=job.name.rpartition("-")[0] + "-1"))


class HasNoDeadline(Sound):
    """Forgets how long a job may take."""

    def replace(self, **changes):
        changes.pop("timeout", None)
        return super().replace(**changes)


class DoesNotSayWhy(Sound):
    """Says that a job failed, and not why."""

    def poll(self, handle):
        return changed(super().poll(handle), cause=None)


class WaitsForEver(Sound):
    """Waits for what cannot be had."""

    def poll(self, handle):
        return changed(super().poll(handle), hopeless=False)


class CancelsOnlyWhatRuns(Sound):
    """Has no way to cancel a job that waits."""

    def cancel(self, handle, grace):
        if self.poll(handle).phase == "running":
            super().cancel(handle, grace)


def _rewritten(job, **changes):
    """The job with another task."""
    store, key = open_store(job.store), f"{job.folder}/task.json"
    task = msgspec.json.decode(store.read(key)) | changes
    store.write(key, canonical(task))
    return changed(job, digest=sha256(canonical(task)))


class KeepsRequirements(Sound):
    """Does not tell the runner what the plan needs."""

    def submit(self, job):
        return super().submit(_rewritten(job, requires={}))


class SpeaksEveryProtocol(Sound):
    """Translates every task into the protocol that it knows."""

    def submit(self, job):
        return super().submit(_rewritten(job, protocol=PROTOCOL))


# -- cancelling ----------------------------------------------------------------------------------


class CancelsNothing(Sound):
    """Takes a cancellation, and does nothing about it."""

    def cancel(self, handle, grace):
        pass


class CancelsItsOwn(Sound):
    """Cancels what this process has started, and nothing else."""

    started: ClassVar[set[str]] = set()

    def submit(self, job):
        handle = super().submit(job)
        self.started.add(handle.job)
        return handle

    def cancel(self, handle, grace):
        if handle.job in self.started:
            super().cancel(handle, grace)


class CancelsOnce(Sound):
    """Fails over the cancellation of a job that has ended."""

    def cancel(self, handle, grace):
        if self.poll(handle).ended:
            raise RuntimeError("there is no such job")
        super().cancel(handle, grace)


# -- finding a job again -------------------------------------------------------------------------


class StartsAnother(Sound):
    """Starts a job each time that it is asked."""

    def submit(self, job):
        return super().submit(changed(job, name=f"{job.name}-{uuid.uuid4().hex[:6]}"))


class FindsAnything(Sound):
    """Makes a handle of any name that it is asked to find."""

    def find(self, job):
        return Handle(job=job.name, data={"folder": f"{self.work_folder}/{job.name}"})


class RemembersInMemory(Sound):
    """Knows what it has submitted as long as the process lives."""

    known: ClassVar[dict[str, Handle]] = {}
    lock: ClassVar[Any] = threading.Lock()

    def submit(self, job):
        with self.lock:
            if job.name not in self.known:
                name = f"{job.name}-{uuid.uuid4().hex[:6]}"
                handle = super().submit(changed(job, name=name))
                self.known[job.name] = changed(handle, job=job.name)
            return self.known[job.name]


class FindsItsOwn(RemembersInMemory):
    """Finds the jobs of this process, and no others."""

    def poll(self, handle):
        return super().poll(handle) if handle.job in self.known else JobState(phase="gone")


class CarriesAllAlong(Sound):
    """Puts everything that it knows into the handle."""

    def submit(self, job):
        handle = super().submit(job)
        return changed(handle, data={**handle.data, "everything": "x" * 20_000})


class NeedsTheLog(Sound):
    """Fails over the log of a job that was removed."""

    def logs(self, handle, cursor=""):
        os.stat(handle.data["folder"])
        return super().logs(handle, cursor)


class DiesWithItsClient(GivesUpAtOnce):
    """Ends its jobs when its client ends."""

    def submit(self, job):
        handle = super().submit(job)
        atexit.register(super().cancel, handle, 0.0)
        return handle


class ForgetsAnEnd(Sound):
    """Says now and then of a job that has ended that it runs."""

    looks: ClassVar[list[int]] = []

    def poll(self, handle):
        self.looks.append(1)
        state = super().poll(handle)
        return JobState(phase="running") if state.ended and len(self.looks) % 2 else state


# -- logs ----------------------------------------------------------------------------------------


class SpeaksAscii(Sound):
    """Starts the runner where only ASCII can be printed."""

    def render(self, job):
        spec = super().render(job)
        words = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        return {**spec, "environment": {**spec["environment"], **words}}


class HasNoLog(Sound):
    """Keeps no log, and says that it does."""

    def logs(self, handle, cursor=""):
        return LogPage((), "")


class RepeatsItself(Sound):
    """Begins each page of a log with the end of the last."""

    def logs(self, handle, cursor=""):
        page = super().logs(handle, cursor)
        return LogPage(page.lines, str(max(0, int(page.cursor or 0) - 30)))


# -- specifications ------------------------------------------------------------------------------


class NeverTheSame(Sound):
    """Renders another specification each time."""

    def render(self, job):
        return {**super().render(job), "label": uuid.uuid4().hex}


class AsksAShell(Sound):
    """Hands the command to a shell, as one string."""

    def render(self, job):
        spec = super().render(job)
        return {**spec, "command": ["sh", "-c", " ".join(spec["command"])]}


class AddsSomething(Sound):
    """Renders something that nobody agreed to."""

    def render(self, job):
        return {**super().render(job), "privileged": True}


# -- orchestration -------------------------------------------------------------------------------


class OneAtATime(Sound):
    """Says that it runs steps side by side, and does not."""

    def run(self, work):
        work.execute_here(max_parallel_steps=1)


class SplitsNothing(Sound):
    """Says that it has a job for each step, and has none."""

    def step_backend(self):
        return None


class SplitsOneByOne(Sound):
    """Starts the job of a step when that of another has ended."""

    def parallel_steps(self):
        return 1


class LosesItsSteps(FindsItsOwn):
    """Does not find the jobs of steps that an engine of the run has started before."""


class PausesSteps(Sound):
    """Pauses the job of a step that it should end."""

    def cancel(self, handle, grace):
        if "/plan/" in (Path(handle.data["folder"]) / "spec").read_text():
            super().cancel(handle, grace)
        else:
            os.killpg(handle.data["pid"], signal.SIGSTOP)


BASE = Base
HOOK = "zenml_orchestrators"
CASES = [name for name in case_names(Base) if name not in case_names(BackendConformance)]

TABLE = [
    Proof("test_a_run_succeeds_with_the_right_values", SaysThatItRan, "'succeeded'"),
    Proof(
        "test_results_are_the_same_bytes_as_in_one_process", RunsWhatIsInMemory, "assert {'left'"
    ),
    Proof("test_what_is_finished_is_not_done_again", BeginsFromNothing, "cached"),
    Proof(
        "test_an_error_comes_back_with_the_users_own_traceback",
        SaysOnlyThatItFailed,
        "the job failed",
    ),
    Proof("test_edited_code_is_what_runs", RunsWhatItRemembers, "8000"),
    Proof("test_names_may_be_long_and_in_any_script", NamesFoldersByPipeline, "too long"),
    Proof("test_two_runs_in_one_process_do_not_mix", NamesJobsByPipeline, "assert "),
    Proof("test_a_run_leaves_nothing_behind", WatchesForEver, "left behind"),
    Proof("test_ctrl_c_ends_what_was_started", LeavesWhenInterrupted, "the run is running"),
    Proof("test_a_secret_of_the_client_stays_with_it", SendsTheEnvironment, "een-anywhere' not in"),
    Proof("test_a_wrong_clock_changes_nothing", TrustsTheClock, "in another process failed"),
    Proof("test_a_job_succeeds_once_and_is_tidied_up", TidiesNothingUp, "cleanup() left"),
    Proof("test_a_users_error_is_one", TriesEverythingAgain, "tried again"),
    Proof("test_work_that_ends_without_a_word_has_failed", SaysSuccessAtOnce, "DID NOT RAISE"),
    Proof("test_a_memory_error_is_out_of_memory", TriesEverythingAgain, "tried again"),
    Proof("test_work_that_takes_too_much_memory_is_ended", HasNoLimits, "DID NOT RAISE"),
    Proof("test_a_machine_that_is_taken_away_is_a_preemption", GivesUpAtOnce, "PREEMPTED"),
    Proof("test_a_job_that_vanishes_is_lost", DoesNotCount, "no retry was allowed"),
    Proof("test_a_job_that_vanishes_once_is_tried_again", MistakesAttempts, "LOST"),
    Proof("test_a_job_that_takes_too_long_is_ended", HasNoDeadline, "did not end within"),
    Proof("test_an_environment_that_is_not_there_is_named", DoesNotSayWhy, "LOST"),
    Proof("test_a_request_that_can_never_be_met_is_refused", WaitsForEver, "did not end within"),
    Proof("test_a_job_that_waits_too_long_is_given_up", CancelsOnlyWhatRuns, "the end of"),
    Proof("test_a_job_that_waits_is_cancelled", CancelsOnlyWhatRuns, "the end of"),
    Proof(
        "test_an_environment_that_differs_is_reported_before_work_begins",
        KeepsRequirements,
        "DID NOT RAISE",
    ),
    Proof("test_a_runner_of_another_protocol_says_so", SpeaksEveryProtocol, "DID NOT RAISE"),
    Proof("test_a_running_job_is_cancelled", CancelsNothing, "the end of"),
    Proof("test_a_job_is_cancelled_as_soon_as_it_is_submitted", CancelsNothing, "the end of"),
    Proof("test_a_job_is_cancelled_by_another_process", CancelsItsOwn, "'end' did not end"),
    Proof("test_cancelling_what_has_ended_is_no_error", CancelsOnce, "there is no such job"),
    Proof("test_a_name_that_is_submitted_twice_is_one_job", StartsAnother, "assert Handle("),
    Proof("test_a_name_that_is_submitted_twice_is_one_job", FindsAnything, "never submitted"),
    Proof("test_a_name_that_two_submit_at_once_is_one_job", RemembersInMemory, "different handles"),
    Proof("test_a_handle_finds_the_job_from_another_process", FindsItsOwn, "gone"),
    Proof("test_a_handle_is_plain_and_small", CarriesAllAlong, "10000"),
    Proof("test_a_job_that_nobody_knows_is_gone", NeedsTheLog, "No such file"),
    Proof("test_a_detached_run_outlives_its_client", DiesWithItsClient, "in another process"),
    Proof("test_states_only_go_forward", ForgetsAnEnd, "'failed', 'running'"),
    Proof("test_what_the_work_prints_is_in_the_store", SpeaksAscii, "USER_ERROR"),
    Proof("test_the_service_has_a_log", HasNoLog, "[]"),
    Proof("test_a_log_is_read_on_from_where_another_stopped", RepeatsItself, "again and again"),
    Proof("test_a_specification_is_exact_and_offline", NeverTheSame, "assert {'command'"),
    Proof("test_a_specification_starts_the_runner_and_names_the_job", AsksAShell, "no list in"),
    Proof("test_the_specification_is_the_one_that_was_agreed", AddsSomething, "if the new one"),
    Proof("test_independent_steps_run_at_the_same_time", OneAtATime, "(True, True)"),
    Proof(
        "test_a_failure_spares_what_does_not_depend_on_it", SaysOnlyThatItFailed, "the job failed"
    ),
    Proof("test_a_second_run_goes_on_where_the_first_failed", BeginsFromNothing, "again"),
    Proof("test_each_step_has_a_process_of_its_own", SplitsNothing, "ran in one process"),
    Proof("test_jobs_of_steps_run_at_the_same_time", SplitsOneByOne, "(True, True)"),
    Proof("test_the_job_of_a_step_fails_as_the_step_does", SaysOnlyThatItFailed, "the job failed"),
    Proof("test_an_engine_that_is_taken_away_finds_its_steps_again", LosesItsSteps, "steps began"),
    Proof("test_a_run_that_is_cancelled_ends_the_jobs_of_its_steps", PausesSteps, "the end of"),
]

SUITES = suites_of(BASE, TABLE)
globals().update(SUITES)
