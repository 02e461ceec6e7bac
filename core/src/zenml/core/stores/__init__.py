"""Artifact stores: opening one by URL, and the one that the core brings."""

from zenml.core._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ArtifactStore": "zenml.core.contracts._store",
        "BytesFormat": "zenml.core.stores._formats",
        "FolderFormat": "zenml.core.stores._formats",
        "LocalArtifactStore": "zenml.core.stores._local",
        "StoredObject": "zenml.core.contracts._store",
        "open_store": "zenml.core.stores._open",
    },
)
