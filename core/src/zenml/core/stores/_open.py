"""Opens an artifact store by URL, through whatever plugin serves its scheme."""

from __future__ import annotations

from functools import lru_cache

from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import BackendError, StoreError

__all__ = ["open_store"]


@lru_cache(maxsize=32)
def open_store(url: str) -> ArtifactStore:
    """The artifact store at ``url``: a local path, or the scheme of an installed plugin.

    Opening touches nothing: a store that is not there says so when it is used.

    Raises:
        StoreError: nothing installed serves the scheme; says what to install.
    """
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme == "file":
        from zenml.core.stores._local import LocalArtifactStore

        return LocalArtifactStore(url)
    from zenml.core.plugins._registry import get_registry, load_target

    try:
        cls = load_target(get_registry().find("store", scheme))
    except BackendError as error:
        raise StoreError(
            f"no artifact store for '{scheme}://' can be used: {error.message}",
            where=url,
            remedy=error.remedy,
        ) from error
    store: ArtifactStore = cls(url)
    return store
