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
        # A core of each worker: two maps at once have one each.
        return ProcessingSparkBackend(
            master=standalone.url,
            python=sys.executable,
            conf={"spark.cores.max": "1", "spark.driver.host": "127.0.0.1"},
        )
