"""What plugins register: where a class is and what it is for, without importing it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "API_VERSION",
    "BackendInfo",
    "BackendSpec",
    "FormatSpec",
    "PluginInfo",
    "Status",
    "StoreSpec",
]

#: Version of the plugin API that this core offers. A spec says which one it was written for; one
#: that says nothing means 1 for ever, so a newer core does not take an old plugin for a new one.
API_VERSION = 1

#: Whether a backend can be used, and what is wrong with it if not.
Status = Literal[
    "available",
    "connected",
    "broken",
    "missing-dependency",
    "incompatible",
    "conflict",
    "disabled",
]


class BackendSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A backend that a plugin offers.

    Attributes:
        type: Short name, unique within its kind: ``kubernetes``.
        target: ``module:Class``; imported only when the backend is used.
        summary: One sentence, for lists.
        api: Plugin API version that it was written for; 1 if it says nothing.
        capabilities: What it can do (gpu, spot, logs, cancel, parallel, …).
        requires: Modules that must be importable for it to work; they are looked for, not imported.
        aliases: Further class names under which ``zenml.backends`` offers it.
    """

    type: str
    target: str
    summary: str
    api: int = 1
    capabilities: frozenset[str] = frozenset()
    requires: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


class StoreSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact store that a plugin offers.

    Attributes:
        scheme: URL scheme, without ``://``.
        target: ``module:Class`` of an ``ArtifactStore``.
        summary: One sentence, for lists.
        api: Plugin API version that it was written for; 1 if it says nothing.
        requires: Modules that must be importable for it to work.
    """

    scheme: str
    target: str
    summary: str = ""
    api: int = 1
    requires: tuple[str, ...] = ()


class FormatSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A format in which values of some types are stored.

    Attributes:
        name: Name in artifact manifests: ``dataset/1``.
        target: ``module:Class`` of an ``ArtifactFormat``.
        python_types: Types that it saves, as ``module:QualName``; compared with the type of a value
            without importing anything.
        api: Plugin API version that it was written for; 1 if it says nothing.
    """

    name: str
    target: str
    python_types: tuple[str, ...] = ()
    api: int = 1


class PluginInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One entry point of the group ``zenml.plugins``, usable or not.

    Attributes:
        name: The entry point's name.
        distribution: The installed distribution that it belongs to.
        version: That distribution's version.
        module: The light module.
        status: ``available``, or what is wrong.
        cause: What is wrong, in words.
        remedy: What to do about it.
        offers: What it registered, as ``kind:name``.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status
    cause: str | None = None
    remedy: str | None = None
    offers: tuple[str, ...] = ()


class BackendInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``get_backends()``: a backend that is installed, connected or cannot be used.

    Attributes:
        kind: orchestrator, processing or training; ``plugin`` where a plugin failed before it could
            say what it offers.
        type: The registered type.
        name: The type, or the name under which the repository has connected it.
        distribution: Which installed distribution it comes from.
        version: That distribution's version.
        status: ``available`` and ``connected`` can be used; the others say what is wrong.
        cause: What is wrong, in words; None if nothing is.
        remedy: What to do about it; None if nothing is wrong.
        capabilities: What it can do, sorted.
        summary: One sentence.
        target: ``module:Class``, where the class is.
    """

    kind: str
    type: str
    name: str
    distribution: str | None
    version: str | None
    status: Status
    cause: str | None = None
    remedy: str | None = None
    capabilities: tuple[str, ...] = ()
    summary: str = ""
    target: str | None = None

    @property
    def usable(self) -> bool:
        """Whether it can be loaded and used."""
        return self.status in ("available", "connected")

    def load(self) -> Any:
        """Import the backend's class. Raises ``BackendUnavailableError`` with the cause."""
        from zenml.core.plugins._registry import load_backend_class

        return load_backend_class(self)
