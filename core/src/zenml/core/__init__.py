"""ZenML's core: contracts, plugins, plans, the engine and the stores.

What is exported here is the public interface for authors of steps and plugins. Names are imported
when they are first used, so ``import zenml.core`` itself costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

_CONTRACTS = "zenml.core.contracts"

if TYPE_CHECKING:
    from zenml.core.contracts import (
        Artifact,
        ArtifactFormat,
        ArtifactStore,
        Backend,
        BackendConfig,
        Blob,
        Check,
        Files,
        Handle,
        Job,
        JobBackend,
        JobOrchestratorBackend,
        JobState,
        JobTrainingBackend,
        LogPage,
        MapContext,
        OrchestratorBackend,
        PlanWork,
        ProcessingBackend,
        SecretRef,
        Settings,
        Step,
        StepContext,
        StepWork,
        TrainingBackend,
        Unit,
        step,
    )
    from zenml.core.engine._run import Run
    from zenml.core.engine._units import execute_unit
    from zenml.core.plan import Plan
    from zenml.core.stores._open import open_store
    from zenml.pipelines._datasource import Datasource

    __all__ = [
        "Artifact",
        "ArtifactFormat",
        "ArtifactStore",
        "Backend",
        "BackendConfig",
        "Blob",
        "Check",
        "Datasource",
        "Files",
        "Handle",
        "Job",
        "JobBackend",
        "JobOrchestratorBackend",
        "JobState",
        "JobTrainingBackend",
        "LogPage",
        "MapContext",
        "OrchestratorBackend",
        "Plan",
        "PlanWork",
        "ProcessingBackend",
        "Run",
        "SecretRef",
        "Settings",
        "Step",
        "StepContext",
        "StepWork",
        "TrainingBackend",
        "Unit",
        "execute_unit",
        "open_store",
        "step",
    ]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "Artifact": _CONTRACTS,
            "ArtifactFormat": _CONTRACTS,
            "ArtifactStore": _CONTRACTS,
            "Backend": _CONTRACTS,
            "BackendConfig": _CONTRACTS,
            "Blob": _CONTRACTS,
            "Check": _CONTRACTS,
            "Datasource": "zenml.pipelines._datasource",
            "Files": _CONTRACTS,
            "Handle": _CONTRACTS,
            "Job": _CONTRACTS,
            "JobBackend": _CONTRACTS,
            "JobOrchestratorBackend": _CONTRACTS,
            "JobState": _CONTRACTS,
            "JobTrainingBackend": _CONTRACTS,
            "LogPage": _CONTRACTS,
            "MapContext": _CONTRACTS,
            "OrchestratorBackend": _CONTRACTS,
            "Plan": "zenml.core.plan",
            "PlanWork": _CONTRACTS,
            "ProcessingBackend": _CONTRACTS,
            "Run": "zenml.core.engine._run",
            "SecretRef": _CONTRACTS,
            "Settings": _CONTRACTS,
            "Step": _CONTRACTS,
            "StepContext": _CONTRACTS,
            "StepWork": _CONTRACTS,
            "TrainingBackend": _CONTRACTS,
            "Unit": _CONTRACTS,
            "execute_unit": "zenml.core.engine._units",
            "open_store": "zenml.core.stores._open",
            "step": _CONTRACTS,
        },
    )
