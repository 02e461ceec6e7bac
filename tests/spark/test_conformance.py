"""The conformance suite, on a standalone cluster and, with ``--full-local``, on this machine."""

from __future__ import annotations

import sys

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
        # One core of each worker, so that there is room for two maps at once.
        return ProcessingSparkBackend(
            master=standalone.url,
            python=sys.executable,
            conf={"spark.cores.max": "2", "spark.driver.host": "127.0.0.1"},
        )
