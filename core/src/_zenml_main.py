"""Entry point of the command ``zenml``, outside the namespace that it may have to repair.

A foreign ``zenml/__init__.py`` on ``sys.path`` hides ``zenml.core`` from ``import``. The command is
what a user runs to find out why, so it must start nevertheless: it builds the namespace from every
``zenml`` folder on the path, and the command then reports the foreign file.
"""

from __future__ import annotations

import os
import sys
import types


def _restore_namespace() -> None:
    folders = [os.path.join(entry or os.getcwd(), "zenml") for entry in dict.fromkeys(sys.path)]
    folders = [folder for folder in folders if os.path.isdir(folder)]
    if any(os.path.isfile(os.path.join(folder, "__init__.py")) for folder in folders):
        namespace = types.ModuleType("zenml")
        namespace.__path__ = folders
        sys.modules["zenml"] = namespace


def main() -> None:
    """Run the command line."""
    _restore_namespace()
    from zenml.core.cli import main as run

    run()


if __name__ == "__main__":
    main()
