"""The standard library of steps: columnar, deterministic, the same on every backend."""

from zenml.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Column": "zenml.steps.dataset",
        "Dataset": "zenml.steps.dataset",
        "Model": "zenml.steps.model",
        "Shard": "zenml.steps.dataset",
    },
)
