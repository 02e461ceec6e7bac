"""Backends on this machine: the defaults of every pipeline."""

from zenml.local._orchestrator import OrchestratorLocalBackend
from zenml.local._processing import ProcessingLocalBackend
from zenml.local._training import TrainingLocalBackend

#: The names under which the first ZenML knew them.
OrchestratorBaseBackend = OrchestratorLocalBackend
ProcessingBaseBackend = ProcessingLocalBackend
TrainingBaseBackend = TrainingLocalBackend

__all__ = [
    "OrchestratorBaseBackend",
    "OrchestratorLocalBackend",
    "ProcessingBaseBackend",
    "ProcessingLocalBackend",
    "TrainingBaseBackend",
    "TrainingLocalBackend",
]
