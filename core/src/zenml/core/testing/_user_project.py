"""A user's repository for the suites: code that no backend has seen before."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from zenml.core.plugins._registry import reset_registry
from zenml.core.testing import _user_code

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MODULE", "UserProject"]

#: The name under which the user's code is imported.
MODULE = "conformance_code"


class UserProject:
    """A repository with one module; inside the block it is the present folder, and importable.

    Args:
        folder: An empty folder, or one in which another process has made the project. What is made
            in it is named with a space and an umlaut.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "user's projekt ü"
        (self.folder / ".zenml").mkdir(parents=True, exist_ok=True)
        if not self.file.exists():
            shutil.copyfile(_user_code.__file__, self.file)

    @property
    def file(self) -> Path:
        """The file of the user's module."""
        return self.folder / f"{MODULE}.py"

    def __enter__(self) -> Self:
        self._before = Path.cwd()
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        reset_registry()
        return self

    def __exit__(self, *_: object) -> None:
        os.chdir(self._before)
        sys.path.remove(str(self.folder))
        sys.modules.pop(MODULE, None)
        reset_registry()

    @property
    def code(self) -> ModuleType:
        """The user's module."""
        return importlib.import_module(MODULE)
