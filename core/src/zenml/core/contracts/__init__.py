"""The contracts: what authors of steps, backends and stores implement.

Nothing here knows the engine, the registry or the command line; they know this.
"""

from zenml.core.contracts._artifact import Artifact, ArtifactFormat, Blob, Files
from zenml.core.contracts._backend import (
    Backend,
    BackendConfig,
    BackendKind,
    Check,
    OrchestratorBackend,
    PlanWork,
    ProcessingBackend,
    StepWork,
    TrainingBackend,
)
from zenml.core.contracts._job import (
    Cause,
    Failure,
    Handle,
    Job,
    JobBackend,
    JobOrchestratorBackend,
    JobState,
    JobTrainingBackend,
    LogPage,
    Phase,
)
from zenml.core.contracts._settings import Field, SecretRef, Settings
from zenml.core.contracts._step import (
    FunctionStep,
    Step,
    StepContext,
    StepFunction,
    StepSignature,
    step,
)
from zenml.core.contracts._store import ArtifactStore, StoredObject, check_key, safe_segment
from zenml.core.contracts._units import MapContext, Unit, UnitFunction

__all__ = [
    "Artifact",
    "ArtifactFormat",
    "ArtifactStore",
    "Backend",
    "BackendConfig",
    "BackendKind",
    "Blob",
    "Cause",
    "Check",
    "Failure",
    "Field",
    "Files",
    "FunctionStep",
    "Handle",
    "Job",
    "JobBackend",
    "JobOrchestratorBackend",
    "JobState",
    "JobTrainingBackend",
    "LogPage",
    "MapContext",
    "OrchestratorBackend",
    "Phase",
    "PlanWork",
    "ProcessingBackend",
    "SecretRef",
    "Settings",
    "Step",
    "StepContext",
    "StepFunction",
    "StepSignature",
    "StepWork",
    "StoredObject",
    "TrainingBackend",
    "Unit",
    "UnitFunction",
    "check_key",
    "safe_segment",
    "step",
]
