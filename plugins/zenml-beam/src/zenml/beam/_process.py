"""Starts the process that has a pipeline run, and ends it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from queue import Empty, SimpleQueue
from typing import IO

import msgspec

from zenml.beam._driver import BEGUN, Job, Outcome

__all__ = ["Driver"]

#: Seconds in which the process has to end, in which it may have to cancel a job elsewhere.
_END_WITHIN = 15.0


class Driver:
    """A process that runs one pipeline. Closing it ends whatever runs on this machine for that.

    Attributes:
        ready: Set when the pipeline begins, or cannot.
        begun: Whether it has.
    """

    def __init__(self) -> None:
        self._scratch = tempfile.mkdtemp(prefix="zenml-beam-")
        # Exactly our path and arguments, so that modules are found and see what they would here;
        # and for the worker processes that Beam starts by the name of "python", the same.
        folders = [*map(str, sys.path)]
        code = (
            f"import sys; sys.path[:] = {folders!r}; "
            f"from zenml.beam._driver import main; main({self._scratch!r})"
        )
        programs = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', '')}"
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a fixed command
            [sys.executable, "-c", code, *sys.argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PATH": programs, "PYTHONPATH": os.pathsep.join(folders)},
            # Ctrl-C in a terminal reaches the client, which ends this, and says why once.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.ready = threading.Event()
        self.begun = False
        self._outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._listen, args=[self._process.stdout], name="zenml-beam", daemon=True
        )
        self._thread.start()

    def send(self, job: Job) -> None:
        """Have the pipeline run."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died, which is seen below
            self._process.stdin.write(msgspec.json.encode(job) + b"\n")
            self._process.stdin.flush()

    def wait(self, seconds: float) -> Outcome | int | None:
        """How the pipeline ended, or the exit code of a process that died over it; else None."""
        try:
            outcome = self._outcomes.get(timeout=seconds)
        except Empty:
            return None
        if outcome is None:
            code = self._process.wait()
            if self.begun:
                return code
            outcome = Outcome("FAILED", f"its process did not start, with exit code {code}")
        return outcome

    def close(self) -> None:
        """End the process, and everything that it has started."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=_END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._thread.join()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _listen(self, answers: IO[bytes]) -> None:
        with answers:
            for line in answers:
                if line == BEGUN:
                    self.begun = True
                else:
                    self._outcomes.put(msgspec.json.decode(line, type=Outcome))
                self.ready.set()
        self.ready.set()
        self._outcomes.put(None)
