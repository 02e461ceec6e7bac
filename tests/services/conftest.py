"""The services that tests run against: real servers on loopback, each for the whole session."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import (
    EXECUTOR,
    IMAGE,
    PREBUILT,
    ComputeServer,
    GCSServer,
    VertexServer,
    environment,
)


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GCSServer]:
    """Cloud Storage, for the whole session."""
    with GCSServer() as server:
        yield server


@pytest.fixture(scope="session")
def vertex(gcs_server: GCSServer) -> Iterator[VertexServer]:
    """Vertex AI, for the whole session; it has an image of ours, and one of Google's."""
    images = {
        IMAGE: environment(ours=["zenml-core", "zenml-gcp"]),
        EXECUTOR: environment(*PREBUILT, ours=[]),
    }
    with VertexServer(images, {"STORAGE_EMULATOR_HOST": gcs_server.url}) as server:
        yield server


@pytest.fixture
def gcs(gcs_server: GCSServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket; whoever is started now finds its server in the environment."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    return gcs_server.make_bucket(f"test-{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
def compute() -> Iterator[ComputeServer]:
    """Compute Engine, for the whole session."""
    with ComputeServer({IMAGE: environment(ours=["zenml-gcp"]).folder}) as server:
        yield server


@pytest.fixture(scope="session")
def machine(compute: ComputeServer) -> dict[str, Any]:
    """Parameters of a backend whose machines are there."""
    return {"project": "my-project", "image": IMAGE, "api_endpoint": compute.url}
