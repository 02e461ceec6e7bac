"""Google Cloud: artifacts in Cloud Storage, pipelines on a virtual machine of their own."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.gcp._asking import asking
    from zenml.gcp._credentials import find_credentials
    from zenml.gcp.orchestrator import OrchestratorGCPBackend
    from zenml.gcp.store import GCSArtifactStore

    __all__ = ["GCSArtifactStore", "OrchestratorGCPBackend", "asking", "find_credentials"]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "GCSArtifactStore": "zenml.gcp.store",
            "OrchestratorGCPBackend": "zenml.gcp.orchestrator",
            "asking": "zenml.gcp._asking",
            "find_credentials": "zenml.gcp._credentials",
        },
    )
