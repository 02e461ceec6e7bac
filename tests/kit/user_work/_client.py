"""The process, as tests see it: see ``work.py`` for what it does."""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from zenml.core import open_store
from zenml.core.testing import Project, wait_until

__all__ = ["Client"]

_SCRIPT = Path(__file__).with_name("work.py")


class Client:
    """A user's process that runs a pipeline of two steps by a backend.

    Args:
        project: Where its script is.
        backend: The orchestrator, as ``module:class``.
        options: Its parameters.
        store: URL of the artifact store.
        how: What the work does when it has begun: ``wait`` until it is let go, ``memory`` until
            there is none, a ``mistake``, or it is ``fine``.
        detach: Whether the process does not wait for the run.

    Attributes:
        store: The artifact store.
        process: The process.
    """

    def __init__(
        self,
        project: Project,
        backend: str,
        options: dict[str, Any],
        *,
        store: str,
        how: str = "wait",
        detach: bool = False,
    ) -> None:
        shutil.copy(_SCRIPT, project.folder)
        self.store = open_store(store)
        self.store.prepare()
        self._marks = secrets.token_hex(4)
        told = {"backend": backend, "options": options, "store": store, "marks": self._marks}
        self.process = project.start("work.py", json.dumps({**told, "how": how, "detach": detach}))

    @property
    def marks(self) -> int:
        """How often the work has begun."""
        return len(list(self.store.list(f"marks/{self._marks}/")))

    def wait_for_marks(self, number: int = 1) -> None:
        """Wait until the work has begun for that time."""
        wait_until(lambda: self.marks >= number, timeout=120, what=f"the work's mark {number}")

    def go(self) -> None:
        """Let the work come to its end."""
        self.store.write(f"go/{self._marks}", b"")

    def kill(self) -> None:
        """End the process, and not the run."""
        self.process.kill()
        self.process.communicate()

    def end(self, timeout: float = 240) -> tuple[dict[str, Any], str]:
        """What it says at last, and what it has told until then."""
        out, err = self.process.communicate(timeout=timeout)
        assert out.strip(), err
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found, err

    def succeeded(self) -> str:
        """See that it succeeds; returns what it has told until then."""
        found, said = self.end()
        assert (found["status"], found.get("value")) == ("succeeded", 10), (found, said)
        return said

    def failed(self, cause: str) -> str:
        """See that it fails for that cause; returns its message."""
        found, said = self.end()
        assert (found["status"], found.get("cause")) == ("failed", cause), (found, said)
        return str(found["message"])
