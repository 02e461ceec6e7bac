"""The repository and its stores."""

from zenml.core.contracts import ArtifactStore
from zenml.repo._repository import Repository

__all__ = ["ArtifactStore", "Repository"]
