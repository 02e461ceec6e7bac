"""Trainers as custom jobs of Vertex AI."""

from __future__ import annotations

from zenml.core import JobTrainingBackend
from zenml.gcaip._jobs import VertexJobs

__all__ = ["SingleGPUTrainingGCAIPBackend"]


class SingleGPUTrainingGCAIPBackend(VertexJobs, JobTrainingBackend):
    """Trains as a custom job on Vertex AI, on a machine with one GPU.

    A job whose Spot machine is taken away is followed by another one, which goes on from the
    trainer's checkpoint. One that somebody cancels in the console ends the run as cancelled.
    """
