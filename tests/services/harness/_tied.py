"""Processes that end with the one that started them, also if that is killed.

As a script it becomes the command that it is given: ``python _tied.py PARENT COMMAND…``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["tied"]


def tied(*command: str) -> list[str]:
    """The command for a process that ends when the thread that starts it does."""
    return [sys.executable, __file__, str(os.getpid()), *command]


def _become(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    # It may have ended before that was said.
    if os.getppid() == parent:
        os.execvp(command[0], command)  # noqa: S606 - a shell would stand between the two


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
