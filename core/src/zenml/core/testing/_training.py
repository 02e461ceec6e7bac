"""The suite for training backends."""

from __future__ import annotations

import os
from typing import Any

from zenml.core.contracts._job import JobBackend
from zenml.core.testing._cases import case
from zenml.core.testing._job_bench import JobBench
from zenml.core.testing._jobs import JobConformance
from zenml.core.testing._user_project import new_marks
from zenml.pipelines import Pipeline

__all__ = ["TrainingConformance"]


class TrainingConformance(JobConformance):
    """What a training backend has to do. Derive a class ``Test…``, and override ``backend``."""

    kind = "training"

    @case()
    def test_inputs_reach_the_trainer(self, bench: JobBench, quick: Any) -> None:
        """Whatever other backends have made."""
        code, made = bench.project.code, Pipeline("inputs")
        given = {"store": bench.store.url, "marks": new_marks()}
        made.add_step(code.work(how="fine", **given), name="first")
        made.add_step(code.train_on(factor=10), name="trained", inputs={"data": "first"})
        run = made.run(backends=bench.backends(quick), artifact_store=bench.store, progress=False)
        assert run.load("trained") == 420

    @case(needs="job", otherwise="skip", tier="required")
    def test_it_trains_elsewhere(self, bench: JobBench, quick: JobBackend) -> None:
        """Not in the process of whoever started the run."""
        asked = bench.ask(quick)
        bench.wait(asked)
        [mark] = bench.store.list(f"{asked.marks}/")
        assert int(bench.store.read(mark.key)) != os.getpid()

    @case(needs="job", otherwise="skip", tier="required")
    def test_a_trainer_that_is_taken_away_goes_on_from_its_checkpoint(
        self, bench: JobBench, quick: JobBackend
    ) -> None:
        """What an attempt leaves in the store is there for the next one."""
        given = {"store": bench.store.url, "marks": new_marks()}
        made = Pipeline("checkpoints")
        made.add_step(bench.project.code.train_in_parts(count=4, **given), name="trained")
        run = made.run(backends=bench.backends(quick), artifact_store=bench.store, progress=False)
        assert run.load("trained") == [0, 1, 2, 3]
        done = bench.marks(given["marks"])
        assert done == 4, f"{done} parts were done in place of 4: the second attempt began anew"
