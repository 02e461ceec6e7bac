"""What zenml-gcp registers; it is imported whenever backends are listed, without the clients."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import BackendSpec, StoreSpec, hookimpl

__all__: list[str] = []


@hookimpl
def zenml_artifact_stores() -> Iterator[StoreSpec]:
    """Artifacts in a bucket."""
    yield StoreSpec(
        scheme="gs",
        target="zenml.gcp.store:GCSArtifactStore",
        summary="A bucket of Google Cloud Storage, or a folder of one.",
        requires=("google.cloud.storage",),
    )


@hookimpl
def zenml_orchestrators() -> Iterator[BackendSpec]:
    """Whole pipelines on machines of their own."""
    yield BackendSpec(
        type="gcp",
        target="zenml.gcp.orchestrator:OrchestratorGCPBackend",
        summary="Runs a pipeline on a virtual machine of its own, which deletes itself afterwards.",
        capabilities=frozenset(
            {"attach", "cancel", "detach", "gpu", "image", "logs", "parallel", "spot"}
        ),
        requires=("google.cloud.compute_v1",),
    )
