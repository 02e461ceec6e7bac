"""Backends that run pipelines, units of work and trainers as Jobs on a Kubernetes cluster."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.k8s._options import SecretKey, Volume
    from zenml.k8s.orchestrator import OrchestratorKubernetesBackend
    from zenml.k8s.processing import ProcessingKubernetesBackend
    from zenml.k8s.training import TrainingKubernetesBackend

    __all__ = [
        "OrchestratorKubernetesBackend",
        "ProcessingKubernetesBackend",
        "SecretKey",
        "TrainingKubernetesBackend",
        "Volume",
    ]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "OrchestratorKubernetesBackend": "zenml.k8s.orchestrator",
            "ProcessingKubernetesBackend": "zenml.k8s.processing",
            "SecretKey": "zenml.k8s._options",
            "TrainingKubernetesBackend": "zenml.k8s.training",
            "Volume": "zenml.k8s._options",
        },
    )
