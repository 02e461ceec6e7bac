"""The conformance suite, on this machine and on a standalone cluster."""

from __future__ import annotations

import sys

import pytest

from zenml.core.testing import ProcessingConformance
from zenml.spark import ProcessingSparkBackend


class TestThisMachine(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
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
