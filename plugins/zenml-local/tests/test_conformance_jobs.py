"""The orchestrators and trainers of zenml-local, measured as anybody's are."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import ClassVar

import pytest

from zenml.core import JobBackend
from zenml.core.testing import OrchestratorConformance, TrainingConformance
from zenml.local import (
    OrchestratorLocalBackend,
    OrchestratorSubprocessBackend,
    TrainingLocalBackend,
    TrainingSubprocessBackend,
)


class TestLocalOrchestrator(OrchestratorConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return OrchestratorLocalBackend()


class TestLocalTraining(TrainingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return TrainingLocalBackend()


class Subprocess:
    """What the two suites below have in common."""

    make: ClassVar[type[JobBackend]]
    slot: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def work_folder(cls, tmp_path_factory):
        return tmp_path_factory.mktemp("jobs")

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, work_folder):
        return cls.make(work_folder=str(work_folder))

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
        with open(full / ".slots" / cls.slot, "w") as slot:
            fcntl.flock(slot, fcntl.LOCK_EX)
            yield cls.make(work_folder=str(full), max_jobs=1)

    @pytest.fixture(scope="class")
    @classmethod
    def golden(cls):
        path = Path(__file__).parent / "golden" / f"{cls.make.__name__}.json"
        return cls.make(python="python3", work_folder="/srv/jobs", memory="2GiB"), path


class TestSubprocessOrchestrator(Subprocess, OrchestratorConformance):
    make = OrchestratorSubprocessBackend
    slot = "plan-0"

    @pytest.fixture(scope="class")
    @classmethod
    def backend_with_steps(cls, work_folder):
        return cls.make(work_folder=str(work_folder), isolation="step")


class TestSubprocessTraining(Subprocess, TrainingConformance):
    make = TrainingSubprocessBackend
    slot = "trainer-0"
