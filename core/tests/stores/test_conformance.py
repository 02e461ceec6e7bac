"""The store in a folder does what every artifact store has to do."""

from __future__ import annotations

import pytest

from zenml.core.testing import ArtifactStoreConformance


class TestLocalStore(ArtifactStoreConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, tmp_path_factory):
        return (tmp_path_factory.mktemp("store") / "artifacts").as_uri()
