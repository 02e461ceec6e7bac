"""What every processing backend has to do, on Beam's own runner."""

from __future__ import annotations

import pytest

from zenml.beam import ProcessingBeamBackend
from zenml.core.testing import ProcessingConformance


class TestInProcess(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls):
        # Each map imports Beam, which takes a busy machine half a minute; some try three times.
        return 300.0

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return ProcessingBeamBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def capabilities(cls, subject):
        # It does one thing after the other.
        return subject.capabilities - {"parallel"}
