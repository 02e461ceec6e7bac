"""Training backends that are sound but for one defect each, for what only trainers have."""

from __future__ import annotations

import os
import tempfile
from typing import Any, ClassVar

import msgspec
import pytest
from proofs import Proof, suites_of

from zenml.core import Handle, JobState, open_store
from zenml.core._canonical import canonical
from zenml.core.jobs._task import JobOutcome, Task
from zenml.core.runner._child import main
from zenml.core.testing import TrainingConformance, case_names
from zenml.core.testing._jobs import JobConformance
from zenml.local import TrainingSubprocessBackend


class Sound(TrainingSubprocessBackend):
    """What the others are made of."""


class Base(TrainingConformance):
    make: ClassVar[Any] = Sound

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, tmp_path_factory):
        return cls.make(work_folder=str(tmp_path_factory.mktemp("jobs")))


class SaysThatItTrained(Sound):
    """Says that it trained, and did not."""

    def train(self, work):
        pass


class TrainsInTheClient(Sound):
    """Does the work in the process of whoever submits it."""

    def submit(self, job):
        store, before = open_store(job.store), os.getcwd()
        task = msgspec.json.decode(store.read(f"{job.folder}/task.json"), type=Task)
        with tempfile.TemporaryDirectory() as folder:
            main(job.store, task, job.attempt, f"{folder}/report.json", folder)
            os.chdir(before)
        outcome = JobOutcome(status="succeeded", attempt=job.attempt, exit_code=0, finished="")
        store.write_if_absent(f"{job.folder}/outcome.json", canonical(outcome))
        return Handle(job=job.name, data={"folder": "", "pid": 0, "born": ""})

    def poll(self, handle):
        return JobState(phase="succeeded")

    def cleanup(self, handle):
        pass


class BeginsWithAnEmptyPlace(Sound):
    """Clears what earlier attempts have left in the store before it starts one."""

    def submit(self, job):
        store = open_store(job.store)
        for found in list(store.list("units/")):
            store.delete(found.key)
        return super().submit(job)


BASE = Base
HOOK = "zenml_trainers"
CASES = [name for name in case_names(Base) if name not in case_names(JobConformance)]

TABLE = [
    Proof("test_inputs_reach_the_trainer", SaysThatItTrained, "the step has no result"),
    Proof("test_it_trains_elsewhere", TrainsInTheClient, "!="),
    Proof(
        "test_a_trainer_that_is_taken_away_goes_on_from_its_checkpoint",
        BeginsWithAnEmptyPlace,
        "the second attempt began anew",
    ),
]

SUITES = suites_of(BASE, TABLE)
globals().update(SUITES)
