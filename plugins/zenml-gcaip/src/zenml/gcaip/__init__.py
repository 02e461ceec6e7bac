"""Vertex AI: trainers as custom jobs, with a GPU."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.gcaip.training import SingleGPUTrainingGCAIPBackend

    __all__ = ["SingleGPUTrainingGCAIPBackend"]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__, {"SingleGPUTrainingGCAIPBackend": "zenml.gcaip.training"}
    )
