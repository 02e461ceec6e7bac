"""Finds a foreign ``zenml/__init__.py``: one alone hides every part of the namespace elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["foreign_namespaces"]


def foreign_namespaces() -> list[Path]:
    """Every ``zenml/__init__.py`` on the path, in order."""
    found = []
    for entry in dict.fromkeys(sys.path):
        candidate = os.path.join(entry or os.getcwd(), "zenml", "__init__.py")
        if os.path.isfile(candidate):
            found.append(Path(candidate))
    return found
