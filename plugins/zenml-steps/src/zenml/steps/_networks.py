"""Feed-forward networks as models: predicting with them, and storing them as data."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from zenml.core import Artifact, Files
from zenml.core.errors import DataError, IntegrityError, ZenMLError
from zenml.steps._dense import ACTIVATIONS, Dense, forward
from zenml.steps.model import Model

__all__ = ["FeedForwardModel", "import_library", "load_network", "save_network"]


class FeedForwardModel(Model):
    """A feed-forward network with its preprocessing.

    Predictions are computed from the weights by ``zenml.steps._dense``, and need no other library.

    Args:
        layers: The layers, from the first to the last.
        transform: See ``Model``.
        task: See ``Model``.
        class_values: See ``Model``.
        versions: The library that trained it, with its version.
    """

    def __init__(
        self,
        layers: Sequence[Dense],
        transform: Mapping[str, Any],
        task: Literal["classification", "regression"],
        class_values: Sequence[float],
        versions: Mapping[str, str],
    ) -> None:
        super().__init__(transform, task, class_values)
        self.layers = list(layers)
        self.versions = dict(versions)

    def scores(self, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See ``Model.scores``. Raises ``DataError`` for features that are not finite."""
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            raise DataError(
                "a feature is infinite",
                where=f"row {bad[0] + 1}",
                remedy="send finite values, or None where a value is missing",
            )
        outputs = forward(self.layers, features)
        if self.task == "regression":
            return outputs[:, 0]
        if outputs.shape[1] == 1:
            return np.concatenate([1.0 - outputs, outputs], axis=1)
        return outputs


_Model = TypeVar("_Model", bound=FeedForwardModel)


def save_network(model: FeedForwardModel, files: Files, name: str) -> Artifact:
    """The model as an artifact: layers as plain data, weights as npy."""
    value = {
        "task": model.task,
        "class_values": list(model.class_values),
        "transform": model.transform,
        "layers": [
            {"inputs": len(layer.weights), "units": len(layer.bias), "activation": layer.activation}
            for layer in model.layers
        ],
        "versions": model.versions,
    }
    blobs = {}
    for place, layer in enumerate(model.layers):
        blobs[f"layer-{place:02d}/weights.npy"] = files.put_bytes(_npy(layer.weights))
        blobs[f"layer-{place:02d}/bias.npy"] = files.put_bytes(_npy(layer.bias))
    return Artifact(format=name, value=value, files=blobs)


def load_network(artifact: Artifact, files: Files, made: type[_Model]) -> _Model:
    """Read a stored model. Raises ``IntegrityError`` if it is none."""
    value = artifact.value
    try:
        layers = [
            Dense(
                _read(artifact, files, f"layer-{place:02d}/weights.npy", layer["inputs"], layer),
                _read(artifact, files, f"layer-{place:02d}/bias.npy", None, layer),
                layer["activation"],
            )
            for place, layer in enumerate(value["layers"])
        ]
        unknown = [layer.activation for layer in layers if layer.activation not in ACTIVATIONS]
        if unknown:
            raise ValueError(f"there is no activation '{unknown[0]}'")
        return made(
            layers, value["transform"], value["task"], value["class_values"], value["versions"]
        )
    except (KeyError, TypeError, ValueError, EOFError) as error:
        raise IntegrityError(
            f"the stored model cannot be read: {error}",
            where=f"artifact {artifact.digest[:12]}",
            remedy="use the version of zenml-steps that it was trained with, or a later one",
        ) from error


def _npy(array: npt.NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _read(
    artifact: Artifact, files: Files, name: str, inputs: int | None, layer: Mapping[str, Any]
) -> npt.NDArray[np.float32]:
    shape = (layer["units"],) if inputs is None else (inputs, layer["units"])
    found = np.load(files.fetch(artifact.files[name]), allow_pickle=False)
    if found.shape != shape or found.dtype != np.float32:
        raise ValueError(f"{name} is {found.dtype} of {found.shape}, not float32 of {shape}")
    return np.asarray(found)


def import_library(name: str, extra: str) -> Any:
    """A module of a library that an extra brings. Raises ``ZenMLError`` that says so."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ZenMLError(
            f"this step needs {(error.name or name).partition('.')[0]}, which is not installed",
            remedy=f"pip install 'zenml-steps[{extra}]'",
        ) from error
