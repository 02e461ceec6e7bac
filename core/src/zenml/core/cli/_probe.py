"""What ``zenml doctor`` does in a process of its own: import one thing, and say what it is."""

from __future__ import annotations

import importlib

from zenml.core.contracts import ArtifactFormat, ArtifactStore, Backend
from zenml.core.plugins._registry import get_registry, in_words

__all__ = ["probe"]


def probe(target: str, kind: str) -> str:
    """Import ``module:Class`` and return what is wrong with it; an empty text if nothing is.

    Args:
        target: What to import; nothing where ``kind`` is ``registry``.
        kind: What it should be: a kind of backend, ``store`` or ``format``; or ``registry``, to
            import what registers them all.
    """
    if kind == "registry":
        get_registry()
        return ""
    module, _, name = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except BaseException as error:  # noqa: BLE001 - whatever the plugin raises
        return in_words(error)
    base = {"store": ArtifactStore, "format": ArtifactFormat}.get(kind, Backend)
    if not (isinstance(found, type) and issubclass(found, base)):
        return f"{name} is a {type(found).__name__}, not a subclass of {base.__name__}"
    if issubclass(found, Backend) and found.kind != kind:
        return f"{name} is a backend of kind {found.kind}, not {kind}"
    return ""
