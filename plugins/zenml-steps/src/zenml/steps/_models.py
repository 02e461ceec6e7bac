"""Models on their way to the units of work that predict with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zenml.core import Artifact, Blob, Files, load
from zenml.steps._plain import fetch, put
from zenml.steps.model import Model

__all__ = ["fetch_model", "put_model"]


def put_model(model: Model, files: Files) -> dict[str, Any]:
    """Store a model; returns plain data for the payload of a unit."""
    artifact: Artifact = load(model.artifact_format)().save(model, files)
    stored = {
        "name": artifact.format,
        "value": artifact.value,
        "files": {name: [blob.digest, blob.size] for name, blob in artifact.files.items()},
    }
    return {"format": model.artifact_format, "model": put(stored, files)}


def fetch_model(payload: Mapping[str, Any], files: Files) -> Model:
    """Read back what ``put_model`` stored, from a payload that holds what it returned."""
    stored = fetch(payload["model"], files)
    blobs = {name: Blob(*blob) for name, blob in stored["files"].items()}
    artifact = Artifact(format=stored["name"], value=stored["value"], files=blobs)
    model: Model = load(payload["format"])().load(artifact, files)
    return model
