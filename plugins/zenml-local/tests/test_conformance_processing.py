"""The processing backend of zenml-local, measured as anybody's is."""

from __future__ import annotations

import pytest

from zenml.core.testing import ProcessingConformance
from zenml.local import ProcessingLocalBackend


class TestThreads(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return ProcessingLocalBackend(workers=2)

    @pytest.fixture(scope="class")
    @classmethod
    def capabilities(cls, subject):
        return subject.capabilities - {"isolation"}


class TestProcesses(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return ProcessingLocalBackend(workers=2, mode="processes")


class TestOneWorker(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return ProcessingLocalBackend(workers=1)

    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls):
        return 20.0  # a tenth of it is how long units wait for others that do not come

    @pytest.fixture(scope="class")
    @classmethod
    def capabilities(cls, subject):
        return subject.capabilities - {"isolation", "parallel"}
