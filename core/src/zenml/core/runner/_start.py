"""Starts the child, before the supervisor has imported what it needs itself.

Both import for a while, so they do it at the same time. The child then waits for its task.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

__all__ = ["Started", "start_child"]


class Started(NamedTuple):
    """A child that waits for its task, and is told it on its standard input.

    Attributes:
        process: The child, in a session of its own: what the work starts ends with it.
        workspace: Its folder, which goes with it.
        report: Where it writes how the work ended.
        stops: Holds a signal's number once somebody has asked this process to end.
    """

    process: subprocess.Popen[bytes]
    workspace: tempfile.TemporaryDirectory[str]
    report: Path
    stops: list[int]

    def give_up(self) -> None:
        """End a child that gets no task."""
        self.process.kill()
        self.process.communicate()
        self.workspace.cleanup()


def start_child(store_url: str, attempt: int) -> Started:
    """Start the process that will do the work of an attempt; listen to signals from here on."""
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stops.append(number))
    # What a killed job leaves goes with its scratch folder, where its service gives it one.
    scratch = os.environ.get("ZENML_SCRATCH")
    workspace = tempfile.TemporaryDirectory(prefix="zenml-job-", dir=scratch)
    report = Path(workspace.name, "report.json")
    # Unbuffered: what it has printed is in the log when it is killed, and can be followed.
    command = [sys.executable, "-u", "-m", "zenml.core.runner", "--child", str(report)]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [
            *command,
            *("--store", store_url, "--workspace", workspace.name),
            *("--attempt", str(attempt), "--parent", str(os.getpid())),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Started(process, workspace, report, stops)
