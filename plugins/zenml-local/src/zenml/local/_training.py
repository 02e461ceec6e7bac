"""The training backend that trains where the pipeline runs."""

from __future__ import annotations

from zenml.core import StepWork, TrainingBackend

__all__ = ["TrainingLocalBackend"]


class TrainingLocalBackend(TrainingBackend):
    """Trains in the process that runs the pipeline."""

    def train(self, work: StepWork) -> None:
        work.execute_here()
