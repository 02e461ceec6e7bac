"""Artifact stores: opening one by URL, and the one that the core brings."""

from zenml.core.stores._formats import BytesFormat, FolderFormat
from zenml.core.stores._local import LocalArtifactStore
from zenml.core.stores._open import open_store

__all__ = ["BytesFormat", "FolderFormat", "LocalArtifactStore", "open_store"]
