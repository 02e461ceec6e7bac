"""Units of work: what a processing backend maps over."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from zenml.core._canonical import digest_of
from zenml.core.contracts._artifact import Files

__all__ = ["MapContext", "Unit", "UnitFunction"]


class UnitFunction(Protocol):
    """A module-level function ``(payload, files) -> result``; payload and result are plain data.

    It may run more than once, anywhere, in any order: it must be deterministic, and everything
    large goes through ``files``.
    """

    def __call__(self, payload: Any, files: Files, /) -> Any: ...


class Unit(msgspec.Struct, frozen=True):
    """One piece of a step's work, as plain data.

    Attributes:
        function: ``module:name`` of a ``UnitFunction``.
        payload: Its first argument, plain data.
        code: Digest of the code closure that the function belongs to.
    """

    function: str
    payload: Any
    code: str

    @property
    def digest(self) -> str:
        """Names the unit by content: equal units have equal results."""
        return digest_of(self)


class MapContext(msgspec.Struct, frozen=True, kw_only=True):
    """What every worker needs in order to execute units; plain data, so that it can be sent.

    Attributes:
        store: URL of the artifact store.
        scope: Key prefix under which finished units are remembered.
        import_roots: Folders to put on ``sys.path`` before a unit's function is imported. Relative
            to the code bundle where ``code`` names one.
        step: The step's name, for messages.
        code: Digest of the code bundle that the units' code is in, as ``ship_code`` gives it; None
            where the folders of the client are at hand.
        requires: Distributions that the code needs, with their versions where the plan was made.
            Checked where ``code`` is set.
        sources: ``module:name`` of what the step is made of, to the digest of its code closure.
        run: The run's id, for what people look at. Another run may come to the same units.
    """

    store: str
    scope: str
    step: str
    import_roots: tuple[str, ...] = ()
    code: str | None = None
    requires: dict[str, str] = {}
    sources: dict[str, str] = {}
    run: str | None = None
