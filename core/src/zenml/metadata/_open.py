"""Opens a metadata store by URL."""

from __future__ import annotations

from zenml.core.errors import ConfigurationError, Problem
from zenml.metadata._base import MetadataStore
from zenml.metadata._sqlite import SQLiteMetadataStore

__all__ = ["open_metadata_store"]


def open_metadata_store(url: str) -> MetadataStore:
    """The metadata store at ``sqlite:///path`` or at a plain path.

    Raises:
        ConfigurationError: the scheme is not served.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return SQLiteMetadataStore(url)
    if scheme == "sqlite":
        # As SQLAlchemy has it: three slashes before a relative path, four before an absolute.
        return SQLiteMetadataStore(rest.removeprefix("/"))
    problem = Problem("metadata_store", f"'{scheme}://' is not served", "use sqlite:///path")
    raise ConfigurationError("the metadata store cannot be opened", [problem])
