"""What every processing backend has to do, on a cluster of its own and on one that is there."""

from __future__ import annotations

import pytest
from acme_zenml_dask import ProcessingDaskBackend

from zenml.core.testing import ProcessingConformance


class TestOwnCluster(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return ProcessingDaskBackend(workers=2)


class TestClusterThatIsThere(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, cluster):
        return ProcessingDaskBackend(address=cluster.scheduler_address)

    @pytest.fixture(scope="class")
    @classmethod
    def capabilities(cls, subject):
        # Nobody may end workers that others use, so a unit that is under way goes on to its end.
        return subject.capabilities - {"isolation"}
