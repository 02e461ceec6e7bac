"""The suite for orchestrators."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from zenml.core.contracts._job import JobBackend
from zenml.core.engine._as_job import cancel_run
from zenml.core.engine._run import Run
from zenml.core.errors import RunCancelledError, RunError, StepFailedError
from zenml.core.jobs._attempts import attempts_of, job_folder
from zenml.core.plugins._registry import get_registry
from zenml.core.testing._cases import case
from zenml.core.testing._job_bench import JobBench
from zenml.core.testing._jobs import JobConformance, handles_of, run_of
from zenml.core.testing._processes import wait_until
from zenml.core.testing._user_project import new_marks
from zenml.pipelines import Pipeline

__all__ = ["OrchestratorConformance"]


class OrchestratorConformance(JobConformance):
    """What an orchestrator has to do. Derive a class ``Test…``, and override ``backend``."""

    kind = "orchestrator"

    @pytest.fixture(scope="class")
    @classmethod
    def backend_with_steps(cls) -> Any:
        """The same, with a job for each step. For backends that declare ``steps``."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def splitting(cls, backend_with_steps: Any) -> Any:
        """That one, with hardly any delay before a retry."""
        if isinstance(backend_with_steps, JobBackend):
            return backend_with_steps.replace(retry_delay=0.05)
        return backend_with_steps

    @case(needs="parallel")
    def test_independent_steps_run_at_the_same_time(self, bench: JobBench, quick: Any) -> None:
        """Each of two steps waits for the other to begin."""
        run = self._run(bench, quick, self._meeting(bench))
        assert (run.load("one"), run.load("other")) == (True, True)

    @case()
    def test_a_failure_spares_what_does_not_depend_on_it(self, bench: JobBench, quick: Any) -> None:
        """The other branch is finished, and what follows the failed step is skipped."""
        with pytest.raises(StepFailedError) as caught:
            bench.run(quick, "raise")
        steps = Run(caught.value.run_id, bench.store).steps
        assert {name: record.status for name, record in steps.items()} == {
            "left": "succeeded",
            "right": "failed",
            "sum": "skipped",
        }

    @case()
    def test_a_second_run_goes_on_where_the_first_failed(self, bench: JobBench, quick: Any) -> None:
        """What was finished is found, and only the rest is done."""
        marks = new_marks()
        for _ in range(2):
            with pytest.raises(StepFailedError):
                bench.run(quick, "raise", marks)
        assert bench.marks(marks) == 3, "the finished step was done again"

    # -- a job for each step ---------------------------------------------------------------------

    @case(needs="steps", otherwise="skip")
    def test_each_step_has_a_process_of_its_own(self, bench: JobBench, splitting: Any) -> None:
        """A trainer without a service of its own as well; what is cached has none."""
        code, made = bench.project.code, Pipeline("split")
        for number in range(2):
            made.add_step(code.identify(number=number), name=f"step-{number}")
        made.add_step(code.identify_trainer(), name="trainer")
        run = self._run(bench, splitting, made)
        processes = {run.load(name) for name in ("step-0", "step-1", "trainer")}
        assert len(processes) == 3, "steps ran in one process"
        assert _attempts(bench, run) == {"step-0": 1, "step-1": 1, "trainer": 1}
        again = self._run(bench, splitting, made)
        assert {record.status for record in again.steps.values()} == {"cached"}
        assert not _attempts(bench, again), "a job was started for a result that was there"

    @case(needs="steps", otherwise="skip")
    def test_jobs_of_steps_run_at_the_same_time(self, bench: JobBench, splitting: Any) -> None:
        """Each of two steps waits for the other to begin."""
        run = self._run(bench, splitting, self._meeting(bench))
        assert (run.load("one"), run.load("other")) == (True, True)

    @case(needs="steps", otherwise="skip")
    def test_the_job_of_a_step_fails_as_the_step_does(
        self, bench: JobBench, splitting: Any
    ) -> None:
        """Its cause and its traceback reach the client; what does not depend on it is kept."""
        marks = new_marks()
        with pytest.raises(StepFailedError) as caught:
            bench.run(splitting, "raise", marks)
        assert caught.value.step == "right"
        assert "ValueError: no good" in str(caught.value)
        assert "raise ValueError" in (caught.value.traceback_text or "")
        run = Run(caught.value.run_id, bench.store)
        assert run.steps["right"].failure is not None
        assert run.steps["right"].failure.cause == "USER_ERROR"
        assert {name: record.status for name, record in run.steps.items()} == {
            "left": "succeeded",
            "right": "failed",
            "sum": "skipped",
        }
        assert bench.marks(marks) == 2, "a user's error was tried again"

    @case(needs="steps", otherwise="skip")
    def test_an_engine_that_is_taken_away_finds_its_steps_again(
        self, bench: JobBench, splitting: Any
    ) -> None:
        """They run on meanwhile, and none is started twice."""
        marks = new_marks()
        with self._holding(bench, splitting, marks) as run:
            [handle] = handles_of(bench, run, "plan/")
            bench.cancel(splitting, handle, 0.0)  # as the machine of the engine would
            bench.store.write(f"{marks}-released/one", b"")
            # Only another engine can have started what follows; it has seen the other step then.
            bench.wait_for_marks(marks, 3)
            bench.store.write(f"{marks}-released/other", b"")
            wait_until(
                lambda: run.status != "running", timeout=bench.patience, what="the end of the run"
            )
        assert run.status == "succeeded"
        assert len(handles_of(bench, run, "plan/")) == 2
        begun = bench.marks(marks)
        assert begun == 3, f"three steps began {begun} times"

    @case(needs="steps", otherwise="skip")
    def test_a_run_that_is_cancelled_ends_the_jobs_of_its_steps(
        self, bench: JobBench, splitting: Any
    ) -> None:
        """All of them, from another process than the engine's."""
        with self._holding(bench, splitting, new_marks()) as run:
            with pytest.raises(RunCancelledError):
                cancel_run(bench.store, get_registry(), run.id, 5.0)
            assert run.status == "cancelled"
            handles = handles_of(bench, run)
            assert len(handles) == 3
            for handle in handles:
                bench.end_of(splitting, handle)

    @contextmanager
    def _holding(self, bench: JobBench, backend: Any, marks: str) -> Iterator[Run]:
        """A run of two steps that go on until they are released, and one that follows the first."""
        code, made = bench.project.code, Pipeline("hold")
        given = {"store": bench.store.url, "marks": marks}
        for name in ("one", "other"):
            made.add_step(code.hold(name=name, **given), name=name)
        made.add_step(code.follow(**given), name="after", inputs={"before": "one"})

        def start() -> None:
            with suppress(RunError):  # the case looks at how the run ended
                self._run(bench, backend, made)

        client = threading.Thread(target=start)
        client.start()
        try:
            bench.wait_for_marks(marks, 2)
            yield run_of(bench, marks)
        finally:
            for name in ("one", "other"):
                bench.store.write(f"{marks}-released/{name}", b"")
            client.join(bench.patience)

    @staticmethod
    def _meeting(bench: JobBench) -> Pipeline:
        made, marks = Pipeline("side by side"), new_marks()
        for name, other in (("one", "other"), ("other", "one")):
            meeting = bench.project.code.rendezvous(
                store=bench.store.url, marks=marks, name=name, other=other
            )
            made.add_step(meeting, name=name)
        return made

    @staticmethod
    def _run(bench: JobBench, backend: Any, made: Pipeline) -> Run:
        return made.run(
            backends=bench.backends(backend), artifact_store=bench.store, progress=False
        )


def _attempts(bench: JobBench, run: Run) -> dict[str, int]:
    """How many attempts each step's job has had, if it has a job."""
    folders = {name: job_folder(run.id, name) for name in run.plan.steps}
    tried = {name: len(attempts_of(bench.store, folder)) for name, folder in folders.items()}
    return {name: count for name, count in tried.items() if count}
