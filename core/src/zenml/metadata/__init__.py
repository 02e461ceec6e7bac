"""Metadata stores: an index over run logs that can always be rebuilt from them."""

from zenml.metadata._base import IndexedRun, IndexedStep, MetadataStore
from zenml.metadata._open import open_metadata_store
from zenml.metadata._sqlite import SQLiteMetadataStore

__all__ = [
    "IndexedRun",
    "IndexedStep",
    "MetadataStore",
    "SQLiteMetadataStore",
    "open_metadata_store",
]
