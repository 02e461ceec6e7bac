"""The store in Cloud Storage keeps to its contract, also where requests fail."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from harness import FaultProxyProcess, GCSServer, all_faults

from zenml.core.testing import ArtifactStoreConformance


class TestGCSStore(ArtifactStoreConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, gcs_server: GCSServer) -> Iterator[str]:
        bucket = gcs_server.make_bucket(f"conformance-{secrets.token_hex(6)}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
            yield f"{bucket}/store"


class TestGCSStoreBehindFaults(ArtifactStoreConformance):
    """About one request in six fails, in each of the ways that a request can."""

    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls) -> float:
        return 300.0

    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, gcs_server: GCSServer) -> Iterator[str]:
        bucket = gcs_server.make_bucket(f"conformance-{secrets.token_hex(6)}")
        rules = all_faults()
        # A process of its own, since the suite looks for threads and files that are left behind.
        proxy = FaultProxyProcess(gcs_server.url, rules)
        with proxy, pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
            yield f"{bucket}/store"
        assert all(rule.hits for rule in rules), f"the suite did not meet all of {rules}"

    def test_nothing_is_left_behind(self) -> None:
        pytest.skip("a connection that broke is followed by another, which is no longer the same")
