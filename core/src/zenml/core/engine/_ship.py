"""Ships the code of units to workers that do not see the folders of the client."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from zenml.core._canonical import canonical
from zenml.core._project import find_root
from zenml.core.contracts._units import MapContext
from zenml.core.errors import ConfigurationError, Problem, SourceChangedError
from zenml.core.sources import closure_of, load
from zenml.core.stores._open import open_store

__all__ = ["refuse_outside", "ship_code", "shipped_code"]

_REFERENCE = "code-"


def ship_code(context: MapContext) -> MapContext:
    """Put the repository around us into the context's store, for workers on other machines.

    A processing backend whose workers do not see the client's folders calls this first in its
    ``map()``, and sends what it returns; ``execute_unit`` does the rest. The repository is uploaded
    once for each content. Nothing is uploaded if all code is installed, or was shipped before.

    Args:
        context: The context as ``map()`` was given it.

    Returns:
        A context whose ``code`` names the bundle, and whose ``import_roots`` are relative to it.

    Raises:
        ConfigurationError: code is outside of the repository, or the repository cannot be bundled;
            says every reason.
        SourceChangedError: the code is not what the step was planned with any more.
        StoreError: the store cannot take it.
    """
    if context.code is not None or not context.import_roots:
        return context
    from zenml.core.bundle import store_bundle

    base = find_root()
    roots = {root: _inside(root, base) for root in context.import_roots}
    refuse_outside(root for root, relative in roots.items() if relative is None)
    store = open_store(context.store)
    bundle = store_bundle(store, base)
    # After it: what is edited from here on is not in the bundle.
    _refuse_changed(context)
    # For whoever collects garbage: workers that come later need it, too.
    store.write(f"{context.scope}/{_REFERENCE}{bundle.digest}.json", canonical({}))
    return msgspec.structs.replace(
        context,
        code=bundle.digest,
        import_roots=tuple(relative for relative in roots.values() if relative is not None),
        sources={},
    )


def refuse_outside(folders: Iterable[str]) -> None:
    """Raise ``ConfigurationError`` if code is in any folder that no bundle holds."""
    problems = [
        Problem(folder, "is outside the repository", "move it inside, or install it")
        for folder in folders
    ]
    if problems:
        raise ConfigurationError("the code cannot be sent elsewhere", problems)


def shipped_code(key: str) -> str | None:
    """The digest of the bundle that an object among a step's units refers to; None of others."""
    name = key.rpartition("/")[2]
    if not name.startswith(_REFERENCE):
        return None
    return name.removeprefix(_REFERENCE).removesuffix(".json")


def _inside(folder: str, base: os.PathLike[str]) -> str | None:
    """A folder as it is called inside another one; None if it is not inside."""
    relative = os.path.relpath(folder, base)
    if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
        return None
    return relative.replace(os.sep, "/")


def _refuse_changed(context: MapContext) -> None:
    for source, digest in context.sources.items():
        if closure_of(load(source, context.import_roots), source).digest != digest:
            raise SourceChangedError(
                "the code changed while the run was going on, and is not what it was planned with",
                where=f"step '{context.step}' ({source})",
                remedy="run again",
            )
