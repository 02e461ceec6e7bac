"""What zenml-k8s registers; it is imported whenever backends are listed, without the client."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import BackendSpec, hookimpl

__all__: list[str] = []

#: What can be asked of a Job.
_JOB = frozenset({"attach", "cancel", "detach", "gpu", "image", "logs", "memory", "queue", "spot"})


@hookimpl
def zenml_orchestrators() -> Iterator[BackendSpec]:
    """Whole pipelines as Jobs."""
    yield BackendSpec(
        type="kubernetes",
        target="zenml.k8s.orchestrator:OrchestratorKubernetesBackend",
        summary="Runs a pipeline as a Job on a Kubernetes cluster, or each of its steps as one.",
        capabilities=_JOB | {"parallel", "steps"},
        requires=("kubernetes",),
    )


@hookimpl
def zenml_processors() -> Iterator[BackendSpec]:
    """Units of work in the pods of a Job."""
    yield BackendSpec(
        type="kubernetes",
        target="zenml.k8s.processing:ProcessingKubernetesBackend",
        summary="Spreads a step's work over the pods of a Job on a Kubernetes cluster.",
        capabilities=frozenset({"cancel", "isolation", "parallel"}),
        requires=("kubernetes",),
    )


@hookimpl
def zenml_trainers() -> Iterator[BackendSpec]:
    """Trainers as Jobs."""
    yield BackendSpec(
        type="kubernetes",
        target="zenml.k8s.training:TrainingKubernetesBackend",
        summary="Trains as a Job on a Kubernetes cluster, with a GPU if there is to be one.",
        capabilities=_JOB,
        requires=("kubernetes",),
    )
