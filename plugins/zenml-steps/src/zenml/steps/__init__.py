"""The standard library of steps: columnar, deterministic, the same on every backend."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.steps.dataset import Column, Dataset, Shard
    from zenml.steps.model import Model

    __all__ = ["Column", "Dataset", "Model", "Shard"]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "Column": "zenml.steps.dataset",
            "Dataset": "zenml.steps.dataset",
            "Model": "zenml.steps.model",
            "Shard": "zenml.steps.dataset",
        },
    )
