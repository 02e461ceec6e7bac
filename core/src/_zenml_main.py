"""Entry point of the command ``zenml``, outside the namespace that it may have to repair.

A foreign ``zenml/__init__.py`` on ``sys.path`` hides ``zenml.core`` from ``import``. The command is
what a user runs to find out why, so it must start nevertheless: it builds the namespace from every
``zenml`` folder on the path, and the command then reports the foreign file.
"""

from __future__ import annotations

import os
import sys
import types


def restore_namespace() -> None:
    """Let ``zenml.core`` be imported although a foreign ``zenml/__init__.py`` hides it."""
    folders = [os.path.join(entry or os.getcwd(), "zenml") for entry in dict.fromkeys(sys.path)]
    folders = [folder for folder in folders if os.path.isdir(folder)]
    if any(map(_is_package, folders)):
        # The old zenml had packages named core, repo and cli as well: ours come first.
        folders.sort(key=_is_package)
        namespace = types.ModuleType("zenml")
        namespace.__path__ = folders
        sys.modules["zenml"] = namespace


def _is_package(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "__init__.py"))


def main() -> None:
    """Run the command line."""
    restore_namespace()
    from zenml.core.cli import main as run

    run()


if __name__ == "__main__":
    main()
