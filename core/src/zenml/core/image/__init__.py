"""The image that remote environments run zenml in: what it is called, and how it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zenml.core.image._packages import Packages, write_packages

__all__ = ["DEFAULT_IMAGE", "Packages", "write_packages"]

#: What ``zenml image build`` calls the image unless it is told otherwise, so that a backend may ask
#: for it where its user names no other: ``zenml-runtime:`` and the version of zenml-core.
DEFAULT_IMAGE: str


def __getattr__(name: str) -> object:
    # Looked up when it is asked for: it costs some milliseconds that most processes need not pay.
    if name == "DEFAULT_IMAGE":
        from importlib import metadata

        # A local version, "0.1.0+ours", is no tag.
        return f"zenml-runtime:{metadata.version('zenml-core').replace('+', '-')}"
    if name in ("Packages", "write_packages"):
        from zenml.core.image import _packages

        return getattr(_packages, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
