"""What every processing backend has to do, on Beam's own runners and on Prism."""

from __future__ import annotations

import pytest

from zenml.beam import ProcessingBeamBackend
from zenml.core.testing import ProcessingConformance


class TestInProcess(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return ProcessingBeamBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def capabilities(cls, subject):
        # It does one thing after the other.
        return subject.capabilities - {"parallel"}


class TestPrism(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, prism):
        return ProcessingBeamBackend(runner="PrismRunner", options={"prism_location": prism})
