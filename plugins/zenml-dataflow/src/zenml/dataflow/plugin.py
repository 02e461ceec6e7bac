"""What zenml-dataflow registers; it is imported whenever backends are listed, without Beam."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import BackendSpec, hookimpl

__all__: list[str] = []


@hookimpl
def zenml_processors() -> Iterator[BackendSpec]:
    """Units of work as a Dataflow job."""
    yield BackendSpec(
        type="dataflow",
        target="zenml.dataflow.processing:ProcessingDataFlowBackend",
        summary="Spreads a step's work over the workers of a job on Google Cloud Dataflow.",
        capabilities=frozenset({"cancel", "gpu", "image", "isolation", "parallel"}),
        requires=("apache_beam", "google.cloud.dataflow_v1beta3"),
    )
