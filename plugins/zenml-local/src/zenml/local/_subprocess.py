"""Jobs as processes of this machine, run exactly as a remote service would run them.

The process gets nothing from its client but a command line: its code comes from the bundle, its
task from the artifact store, and its outcome goes there. What works here works in a pod.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from zenml.core import (
    Check,
    Handle,
    Job,
    JobBackend,
    JobOrchestratorBackend,
    JobState,
    JobTrainingBackend,
    LogPage,
)

__all__ = ["OrchestratorSubprocessBackend", "TrainingSubprocessBackend"]

#: Environment variables that would let code in beside the bundle.
_UNWANTED = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME")


class _SubprocessJobs(JobBackend):
    """What the two backends below have in common.

    Args:
        python: The interpreter, such as that of a virtual environment; by default the client's own.
        work_folder: Where each job has a folder of its own while it runs.
        environment: Further environment variables, as ``NAME: value``; no secrets.
    """

    python: str | None = None
    work_folder: str | None = None
    environment: dict[str, str] = {}  # noqa: RUF012 - copied for each backend

    def render(self, job: Job) -> dict[str, Any]:
        """The command, the folder it runs in, and what is added to its environment."""
        return {
            "command": list(job.command(self.python or sys.executable)),
            "folder": str(self._folder(job.name)),
            "environment": dict(self.environment),
        }

    def _folder(self, name: str) -> Path:
        default = Path.home() / ".cache" / "zenml" / "jobs"
        return (Path(self.work_folder) if self.work_folder else default) / name

    def submit(self, job: Job) -> Handle:
        spec = self.render(job)
        folder = Path(spec["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # Exactly one submission of a name makes this file, and it starts the process.
            claim = os.open(folder / "claim", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return self._wait_for_handle(job, folder)
        os.close(claim)
        inherited = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(  # noqa: S603 - the user's own interpreter, our own runner
                spec["command"],
                cwd=folder,
                env={**inherited, **spec["environment"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # It outlives the client, and Ctrl-C in the client's terminal is not for it.
                start_new_session=True,
            )
        threading.Thread(target=_note_exit_code, args=(process, folder), daemon=True).start()
        data = {"folder": str(folder), "pid": process.pid, "born": _born(process.pid)}
        draft = folder / "handle.draft"
        draft.write_text(json.dumps(data))
        draft.replace(folder / "handle")
        return Handle(job=job.name, data=data)

    def _wait_for_handle(self, job: Job, folder: Path) -> Handle:
        """The handle of a job that another submission is starting, or has started."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                return Handle(job=job.name, data=json.loads((folder / "handle").read_text()))
            threading.Event().wait(0.05)
        # Whoever claimed it died before it was started: the claim is worth nothing.
        (folder / "claim").unlink(missing_ok=True)
        return self.submit(job)

    def poll(self, handle: Handle) -> JobState:
        folder = Path(handle.data["folder"])
        with contextlib.suppress(OSError, ValueError):
            code = int((folder / "code").read_text())
            if code == 0:
                return JobState(phase="succeeded")
            how = f"the process ended with exit code {code}"
            last = _last_line(folder / "log")
            return JobState(phase="failed", message=f"{how}: {last}" if last else how)
        if _lives(handle):
            return JobState(phase="running")
        return JobState(phase="gone", message="the process vanished")

    def logs(self, handle: Handle, cursor: str = "") -> LogPage:
        start = int(cursor or 0)
        try:
            with open(Path(handle.data["folder"]) / "log", "rb") as file:
                file.seek(start)
                data = file.read(1 << 20)
        except OSError:
            return LogPage((), cursor)
        # A line without its end is still being written; it comes with the next page.
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", "replace").splitlines()
        return LogPage(tuple(lines), str(start + len(whole)))

    def cancel(self, handle: Handle, grace: float) -> None:
        if not _signal(handle, signal.SIGTERM):
            return
        deadline = time.monotonic() + grace + 5
        while time.monotonic() < deadline and _lives(handle):
            threading.Event().wait(0.05)
        _signal(handle, signal.SIGKILL)

    def cleanup(self, handle: Handle) -> None:
        shutil.rmtree(handle.data["folder"], ignore_errors=True)

    def check(self) -> list[Check]:
        """Whether the interpreter is there, and has a runner."""
        python = self.python or sys.executable
        probe = "from importlib.metadata import version; import zenml.core.runner; "
        command = [python, "-c", probe + "print(version('zenml-core'))"]
        try:
            done = subprocess.run(  # noqa: S603 - the user's own interpreter
                command, capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return [Check("interpreter", False, str(error), "give python= the path of one")]
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            return [Check("runner", False, last, f"{python} -m pip install zenml-core")]
        return [Check("runner", True, f"{python} has zenml-core {done.stdout.strip()}")]


class OrchestratorSubprocessBackend(_SubprocessJobs, JobOrchestratorBackend):
    """Runs a pipeline in a process of its own on this machine, as a remote orchestrator would."""


class TrainingSubprocessBackend(_SubprocessJobs, JobTrainingBackend):
    """Trains in a process of its own on this machine, as a remote training service would."""


def _note_exit_code(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Leave the exit code where anybody can find it. A client that ends first leaves none."""
    code = process.wait()
    with contextlib.suppress(OSError):
        (folder / "code.draft").write_text(str(code))
        (folder / "code.draft").replace(folder / "code")


def _born(pid: int) -> str:
    """When a process began, in the kernel's own ticks: a process id alone is used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _lives(handle: Handle) -> bool:
    pid = handle.data["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _born(pid) == handle.data["born"] and not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def _signal(handle: Handle, number: int) -> bool:
    """Signal the job's process group; whether there was one."""
    if not _lives(handle):
        return False
    try:
        os.killpg(handle.data["pid"], number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""
