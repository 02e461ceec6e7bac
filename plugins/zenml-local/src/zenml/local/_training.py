"""The training backend that trains where the pipeline runs."""

from __future__ import annotations

from zenml.core import StepWork, TrainingBackend

__all__ = ["TrainingBaseBackend", "TrainingLocalBackend"]


class TrainingLocalBackend(TrainingBackend):
    """Trains in the process that runs the pipeline."""

    def train(self, work: StepWork) -> None:
        work.execute_here()


#: The name under which the first ZenML knew it.
TrainingBaseBackend = TrainingLocalBackend
