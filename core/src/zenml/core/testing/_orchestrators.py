"""The suite for orchestrators."""

from __future__ import annotations

from typing import Any

import pytest

from zenml.core.engine._run import Run
from zenml.core.errors import StepFailedError
from zenml.core.testing._cases import case
from zenml.core.testing._job_bench import JobBench
from zenml.core.testing._jobs import JobConformance
from zenml.core.testing._user_project import new_marks
from zenml.pipelines import Pipeline

__all__ = ["OrchestratorConformance"]


class OrchestratorConformance(JobConformance):
    """What an orchestrator has to do. Derive a class ``Test…``, and override ``backend``."""

    kind = "orchestrator"

    @case(needs="parallel")
    def test_independent_steps_run_at_the_same_time(self, bench: JobBench, quick: Any) -> None:
        """Each of two steps waits for the other to begin."""
        made, marks = Pipeline("side by side"), new_marks()
        for name, other in (("one", "other"), ("other", "one")):
            meeting = bench.project.code.rendezvous(
                store=bench.store.url, marks=marks, name=name, other=other
            )
            made.add_step(meeting, name=name)
        run = self._run(bench, quick, made)
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

    @staticmethod
    def _run(bench: JobBench, backend: Any, made: Pipeline) -> Run:
        return made.run(
            backends=bench.backends(backend), artifact_store=bench.store, progress=False
        )
