"""Modules that offer every installed backend class by name, through the registry (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zenml.core.errors import BackendError

__all__ = ["offer_names"]


def offer_names(
    package: str, kind: str | None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make ``__getattr__`` and ``__dir__`` for a module that offers backend classes.

    Args:
        package: The module's ``__name__``.
        kind: Only classes of this kind; None for all.
    """

    def get(name: str) -> Any:
        if not name.endswith("Backend"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from zenml.core.contracts._settings import nearest
        from zenml.core.plugins._registry import get_registry, known_offers, load_backend_class

        registry = get_registry()
        offer = registry.find_class(kind, name)
        if offer is not None:
            if offer.status == "available":
                try:
                    return load_backend_class(offer)
                except BackendError as error:
                    raise ImportError(str(error)) from error
            raise ImportError(f"{name} cannot be used: {offer.cause}\n  what to do: {offer.remedy}")
        for row in known_offers():
            if row["class"] == name and kind in (None, row["kind"]):
                raise ImportError(
                    f"{name} is not installed\n  what to do: pip install {row['distribution']}"
                )
        hint = nearest(name, registry.class_names(kind))
        raise ImportError(
            f"no installed plugin offers {name}\n  what to do: "
            + (hint or "'zenml backend list' shows what is installed")
        )

    def names() -> list[str]:
        from zenml.core.plugins._registry import get_registry

        return get_registry().class_names(kind)

    return get, names
