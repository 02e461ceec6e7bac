"""The flights of New York, trained with TensorFlow on Vertex AI: as good as on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import EXECUTOR, IMAGE, PREBUILT, GCSServer, VertexServer, environment

from zenml.core.testing import Project

pytest.importorskip("tensorflow", reason="is tested where TensorFlow is installed")

SOURCES = Path(__file__).parent / "project"
EXAMPLES = Path(__file__).parents[2] / "examples"

Train = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def service(gcs_server: GCSServer) -> Iterator[VertexServer]:
    """Images with TensorFlow: one of ours, and one of Google's without anything of zenml."""
    with_zenml = ["zenml-core", "zenml-gcp", "zenml-steps[tensorflow]"]
    images = {
        # pandas: a step uses it where it is installed, as it is here, beside the flights.
        IMAGE: environment("pandas", ours=with_zenml),
        EXECUTOR: environment(*PREBUILT, "keras", "pandas", "polars", "tensorflow", ours=[]),
    }
    with VertexServer(images, {"STORAGE_EMULATOR_HOST": gcs_server.url}) as server:
        yield server


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Train]:
    project = Project(tmp_path_factory.mktemp("flights"))
    shutil.copy(SOURCES / "flights.py", project.folder)
    for example in ("quickstart/run.py", "gcp/train_on_vertex.py"):
        shutil.copy(EXAMPLES / example, project.folder)

    def run(store: str, **parameters: Any) -> dict[str, Any]:
        arguments = [store, *([json.dumps(parameters)] if parameters else [])]
        done = project.run("flights.py", *arguments, timeout=900)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    yield run
    project.end_processes()


@pytest.fixture(scope="module")
def here(train: Train, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of it on this machine."""
    return train((tmp_path_factory.mktemp("here") / "store").as_uri())


@pytest.mark.parametrize("image", [None, IMAGE], ids=["packages", "image"])
def test_the_evaluation_is_the_local_ones(
    service: VertexServer, gcs: str, train: Train, here: dict[str, Any], image: str | None
) -> None:
    there = train(
        f"{gcs}/artifacts",
        project="my-project",
        job_dir=f"{gcs}/jobs",
        image=image,
        api_endpoint=service.url,
        logging_endpoint=service.url,
    )
    assert there == here
    assert here["evaluation"]["overall"]["auc"] > 0.6
