"""Public names that are imported when they are first used (PEP 562).

Listing what is installed imports the light module of every plugin, and with it the packages that
it stands in. So a package's ``__init__`` says where its names live, and imports none of them::

    if TYPE_CHECKING:
        from acme_zenml._backend import AcmeBackend

        __all__ = ["AcmeBackend"]
    else:
        __getattr__, __dir__, __all__ = attach(
            __name__, {"AcmeBackend": "acme_zenml._backend"}
        )
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["attach"]


def attach(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make ``__getattr__``, ``__dir__`` and ``__all__`` for a package.

    Args:
        package: The package's ``__name__``.
        names: Public name to the absolute module that defines it.
    """

    def get(name: str) -> Any:
        try:
            module = names[name]
        except KeyError:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        value = getattr(importlib.import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    exported = sorted(names)
    return get, lambda: exported, exported
