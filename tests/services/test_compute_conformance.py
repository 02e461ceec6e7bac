"""The suite of zenml-core for machines of Compute Engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zenml.core import JobBackend
from zenml.core.testing import OrchestratorConformance
from zenml.gcp import OrchestratorGCPBackend


class TestOrchestrator(OrchestratorConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        return tmp_path_factory.mktemp("store").as_uri()

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, machine: dict[str, Any]) -> JobBackend:
        return OrchestratorGCPBackend(**machine)

    @pytest.fixture(scope="class")
    @classmethod
    def backend_without_image(cls, backend: JobBackend) -> JobBackend:
        return backend.replace(image="europe-docker.pkg.dev/my-project/images/no-such:1")

    @pytest.fixture(scope="class")
    @classmethod
    def golden(cls) -> tuple[JobBackend, Path]:
        backend = OrchestratorGCPBackend(project="my-project", image="registry.example/zenml:1")
        return backend, Path(__file__).parent / "golden" / "machine.json"
