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
        Cause,
        Check,
        Failure,
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
        Phase,
        PlanWork,
        ProcessingBackend,
        SecretRef,
        Settings,
        Step,
        StepContext,
        StepWork,
        StoredObject,
        TrainingBackend,
        Unit,
        UnitFunction,
        check_key,
        safe_segment,
        step,
    )
    from zenml.core.engine._answers import Answer, answer_unit
    from zenml.core.engine._orders import PlacedOrder, WorkOrder
    from zenml.core.engine._records import Outcome, RunStarted, StepRecord
    from zenml.core.engine._run import Run
    from zenml.core.engine._ship import ship_code
    from zenml.core.engine._units import execute_unit
    from zenml.core.plan import Difference, Plan, PlannedStep
    from zenml.core.sources import load, reference
    from zenml.core.stores._open import open_store
    from zenml.pipelines._datasource import Datasource

    __all__ = [
        "Answer",
        "Artifact",
        "ArtifactFormat",
        "ArtifactStore",
        "Backend",
        "BackendConfig",
        "Blob",
        "Cause",
        "Check",
        "Datasource",
        "Difference",
        "Failure",
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
        "Outcome",
        "Phase",
        "PlacedOrder",
        "Plan",
        "PlanWork",
        "PlannedStep",
        "ProcessingBackend",
        "Run",
        "RunStarted",
        "SecretRef",
        "Settings",
        "Step",
        "StepContext",
        "StepRecord",
        "StepWork",
        "StoredObject",
        "TrainingBackend",
        "Unit",
        "UnitFunction",
        "WorkOrder",
        "answer_unit",
        "check_key",
        "execute_unit",
        "load",
        "open_store",
        "reference",
        "safe_segment",
        "ship_code",
        "step",
    ]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "Answer": "zenml.core.engine._answers",
            "Artifact": _CONTRACTS,
            "ArtifactFormat": _CONTRACTS,
            "ArtifactStore": _CONTRACTS,
            "Backend": _CONTRACTS,
            "BackendConfig": _CONTRACTS,
            "Blob": _CONTRACTS,
            "Cause": _CONTRACTS,
            "Check": _CONTRACTS,
            "Datasource": "zenml.pipelines._datasource",
            "Difference": "zenml.core.plan",
            "Failure": _CONTRACTS,
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
            "Outcome": "zenml.core.engine._records",
            "Phase": _CONTRACTS,
            "PlacedOrder": "zenml.core.engine._orders",
            "Plan": "zenml.core.plan",
            "PlanWork": _CONTRACTS,
            "PlannedStep": "zenml.core.plan",
            "ProcessingBackend": _CONTRACTS,
            "Run": "zenml.core.engine._run",
            "RunStarted": "zenml.core.engine._records",
            "SecretRef": _CONTRACTS,
            "Settings": _CONTRACTS,
            "Step": _CONTRACTS,
            "StepContext": _CONTRACTS,
            "StepRecord": "zenml.core.engine._records",
            "StepWork": _CONTRACTS,
            "StoredObject": _CONTRACTS,
            "TrainingBackend": _CONTRACTS,
            "Unit": _CONTRACTS,
            "UnitFunction": _CONTRACTS,
            "WorkOrder": "zenml.core.engine._orders",
            "answer_unit": "zenml.core.engine._answers",
            "check_key": _CONTRACTS,
            "execute_unit": "zenml.core.engine._units",
            "load": "zenml.core.sources",
            "open_store": "zenml.core.stores._open",
            "reference": "zenml.core.sources",
            "safe_segment": _CONTRACTS,
            "ship_code": "zenml.core.engine._ship",
            "step": _CONTRACTS,
        },
    )
