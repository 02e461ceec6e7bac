"""Backends on this machine: the defaults of every pipeline.

The classes named ``…BaseBackend`` are the same under the names that the first ZenML gave them.
"""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.local._orchestrator import OrchestratorBaseBackend, OrchestratorLocalBackend
    from zenml.local._processing import ProcessingBaseBackend, ProcessingLocalBackend
    from zenml.local._subprocess import (
        OrchestratorSubprocessBackend,
        TrainingSubprocessBackend,
    )
    from zenml.local._training import TrainingBaseBackend, TrainingLocalBackend

    __all__ = [
        "OrchestratorBaseBackend",
        "OrchestratorLocalBackend",
        "OrchestratorSubprocessBackend",
        "ProcessingBaseBackend",
        "ProcessingLocalBackend",
        "TrainingBaseBackend",
        "TrainingLocalBackend",
        "TrainingSubprocessBackend",
    ]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "OrchestratorBaseBackend": "zenml.local._orchestrator",
            "OrchestratorLocalBackend": "zenml.local._orchestrator",
            "OrchestratorSubprocessBackend": "zenml.local._subprocess",
            "ProcessingBaseBackend": "zenml.local._processing",
            "ProcessingLocalBackend": "zenml.local._processing",
            "TrainingBaseBackend": "zenml.local._training",
            "TrainingLocalBackend": "zenml.local._training",
            "TrainingSubprocessBackend": "zenml.local._subprocess",
        },
    )
