"""Trainers as Jobs."""

from __future__ import annotations

from zenml.core import JobTrainingBackend
from zenml.k8s._jobs import KubernetesJobs

__all__ = ["TrainingKubernetesBackend"]


class TrainingKubernetesBackend(KubernetesJobs, JobTrainingBackend):
    """Trains as a Job; ``gpus=1`` gives it a GPU.

    A pod that is evicted, or taken away with its spot node, is followed by another one, which goes
    on from the trainer's checkpoint.
    """
