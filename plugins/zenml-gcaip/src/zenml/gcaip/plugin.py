"""What zenml-gcaip registers; it is imported whenever backends are listed, without the client."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import BackendSpec, hookimpl

__all__: list[str] = []


@hookimpl
def zenml_trainers() -> Iterator[BackendSpec]:
    """Trainers as custom jobs."""
    yield BackendSpec(
        type="gcaip",
        target="zenml.gcaip.training:SingleGPUTrainingGCAIPBackend",
        summary="Trains as a custom job on Vertex AI, with one GPU.",
        capabilities=frozenset({"attach", "cancel", "detach", "gpu", "image", "logs", "spot"}),
        requires=("google.cloud.aiplatform_v1",),
    )
