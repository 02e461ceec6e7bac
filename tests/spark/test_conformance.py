"""The conformance suite, on a standalone cluster and, with ``--full-local``, on this machine."""

from __future__ import annotations

import pytest

from zenml.core.testing import ProcessingConformance
from zenml.spark import ProcessingSparkBackend


class TestThisMachine(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, request):
        if not request.config.getoption("full_local", False):
            pytest.skip("--full-local runs the suite here, too: some twelve minutes")
        return ProcessingSparkBackend(master="local[2]")


class TestStandaloneCluster(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, standalone):
        return ProcessingSparkBackend(**standalone.options)
