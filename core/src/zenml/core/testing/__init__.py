"""The testing kit: what tests of plugins, backends and pipelines need.

The conformance suites need pytest, the extra ``testing`` of zenml-core; the rest does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.core.testing._cases import Conformance, case_names
    from zenml.core.testing._orchestrators import OrchestratorConformance
    from zenml.core.testing._plugins import fake_distribution, importing_from
    from zenml.core.testing._processes import (
        Project,
        nothing_left_behind,
        processes_of_group,
        wait_until,
    )
    from zenml.core.testing._processing import ProcessingConformance
    from zenml.core.testing._stores import ArtifactStoreConformance
    from zenml.core.testing._training import TrainingConformance

    __all__ = [
        "ArtifactStoreConformance",
        "Conformance",
        "OrchestratorConformance",
        "ProcessingConformance",
        "Project",
        "TrainingConformance",
        "case_names",
        "fake_distribution",
        "importing_from",
        "nothing_left_behind",
        "processes_of_group",
        "wait_until",
    ]
else:
    _CASES = "zenml.core.testing._cases"
    _PLUGINS = "zenml.core.testing._plugins"
    _PROCESSES = "zenml.core.testing._processes"
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "ArtifactStoreConformance": "zenml.core.testing._stores",
            "Conformance": _CASES,
            "OrchestratorConformance": "zenml.core.testing._orchestrators",
            "ProcessingConformance": "zenml.core.testing._processing",
            "Project": _PROCESSES,
            "TrainingConformance": "zenml.core.testing._training",
            "case_names": _CASES,
            "fake_distribution": _PLUGINS,
            "importing_from": _PLUGINS,
            "nothing_left_behind": _PROCESSES,
            "processes_of_group": _PROCESSES,
            "wait_until": _PROCESSES,
        },
    )
