"""A user's repository for the suites: code that no backend has seen before."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from zenml.core.contracts._backend import Backend
from zenml.core.plugins._registry import reset_registry
from zenml.core.sources import reference
from zenml.core.testing import _user_code

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MODULE", "UserProject", "new_marks", "said_by"]

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

    def start_client(self, module: str, backend: Backend, **told: Any) -> subprocess.Popen[str]:
        """Start a process that uses a backend: a module, which is told as JSON what to do.

        Args:
            module: Its name. What it prints is captured as text.
            backend: Made anew there, from its class and its parameters.
            told: What else it is told.
        """
        told["path"] = sys.path
        told |= {"backend": reference(type(backend)), "parameters": backend.parameters()}
        return subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", module, json.dumps(told)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def said_by(
    client: subprocess.Popen[str], patience: float, name: str = "a client"
) -> tuple[str, str]:
    """Wait for such a process; returns what it printed, and what it complained of.

    One that hangs is ended with all that it started, and the failure says where its threads stood.

    Args:
        client: What ``start_client`` returned.
        patience: Seconds that it may take.
        name: What a failure calls it.
    """
    try:
        return client.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        ended = client.poll() is not None
    if not ended:
        client.send_signal(signal.SIGABRT)  # which faulthandler answers with every thread's stack
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(timeout=10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(client.pid, signal.SIGKILL)
    complaints = client.communicate()[1]
    what = "had ended, and what it had started did not" if ended else "did not end"
    pytest.fail(f"{name} {what} within {patience:g} seconds: {complaints}")


def new_marks() -> str:
    """A place for marks that no other work uses."""
    return f"marks/{uuid.uuid4().hex}"
