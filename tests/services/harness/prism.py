"""Prism, Beam's portable runner: built once for each version, in the user's folder of caches."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path

__all__ = ["VERSION", "prism"]

#: That of the Beam that its job API is spoken with.
VERSION = "v2.77.0"


def prism() -> Path:
    """The program; some minutes when it is new.

    Raises:
        RuntimeError: with what Go says, or that there is no Go.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    shelf = Path(caches) / "zenml" / "services" / "prism"
    made = shelf / VERSION / "prism"
    if not made.exists():
        shelf.mkdir(parents=True, exist_ok=True)
        with (shelf / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                _build(shelf)
    return made


def _build(shelf: Path) -> None:
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".draft-") as draft:
        done = subprocess.run(
            ["go", "install", f"github.com/apache/beam/sdks/v2/go/cmd/prism@{VERSION}"],
            env={**os.environ, "GOBIN": draft, "CGO_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"Prism cannot be built:\n{done.stdout[-4000:]}")
        (shelf / VERSION).mkdir(exist_ok=True)
        (Path(draft) / "prism").rename(shelf / VERSION / "prism")


if __name__ == "__main__":
    print(prism())
