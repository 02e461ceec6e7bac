"""Jobs as processes of this machine, run exactly as a remote service would run them.

The process gets nothing from its client but a command line: its code comes from the bundle, its
task from the artifact store, and its outcome goes there. What works here works in a pod. What a
service does to a job before it runs, the process does to itself: see ``_launcher``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

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
from zenml.core.errors import BackendError
from zenml.local import _launcher
from zenml.local._environment import requirement_problems, virtual_environment
from zenml.local._launcher import (
    born,
    handle_data,
    in_words,
    machine_memory,
    replace_file,
)
from zenml.local._memory import parse_memory

__all__ = ["OrchestratorSubprocessBackend", "TrainingSubprocessBackend"]

#: Environment variables that would let code in beside the bundle.
_UNWANTED = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME")

#: Bytes of a log that are read at once.
_PAGE = 1 << 20

#: Seconds for which another process may be starting a job: far more than it takes, so that whoever
#: takes longer has stopped.
_STARTING = 60.0

#: An exit code that is not known yet; as long as any that is.
_UNKNOWN = "null"


class _SubprocessJobs(JobBackend):
    """What the two backends below have in common.

    Args:
        python: The interpreter, such as that of a virtual environment; by default the client's own.
        work_folder: Where each job has a folder of its own while it runs.
        environment: Further environment variables, as ``NAME: value``; no secrets.
        virtual_environment: Whether jobs run in an environment of their own, made of ``python``,
            that holds what the plan records and nothing else of the client's.
        requirements: What that environment holds besides, as pip reads it.
        memory: How much of it a job may take, such as ``512MiB``; None for no limit.
        max_jobs: How many jobs of one work folder may run at once, plans, trainers and other steps
            counted apart because a plan waits for its steps; None for no limit.
    """

    python: str | None = None
    work_folder: str | None = None
    environment: dict[str, str] = {}  # noqa: RUF012 - copied for each backend
    virtual_environment: bool = False
    requirements: tuple[str, ...] = ()
    memory: str | None = None
    max_jobs: Annotated[int, Meta(ge=1)] | None = None

    #: What a step's job is called among those that wait for a place.
    _of_steps: ClassVar[str] = "trainer"

    def validate(self) -> Iterator[tuple[str, str]]:
        """Sizes and requirements have a form; requirements need an environment to be in."""
        if self.memory is not None:
            try:
                parse_memory(self.memory)
            except ValueError as error:
                yield "memory", str(error)
        if self.requirements and not self.virtual_environment:
            yield "requirements", "needs virtual_environment=True, to have where to install them"
        for problem in requirement_problems(self.requirements):
            yield "requirements", problem

    def render(self, job: Job) -> dict[str, Any]:
        """What the process of the job is told, and nothing that it is not.

        The command; the folder that it runs in; what is added to the client's environment
        variables; the virtual environment's folder, requirements and the commands that make it, or
        None; bytes of memory, or None; the files that are its place to run, or None.
        """
        work, python = self._work_folder(), self._interpreter()
        folder, made = str(work / job.name), None
        environment = {"ZENML_SCRATCH": folder, **self.environment}
        if self.virtual_environment:
            pins = [f"{name}=={version}" for name, version in sorted(job.requires.items())]
            made = virtual_environment(python, [*pins, *self.requirements], _cache())
            environment = {"VIRTUAL_ENV": made["folder"], **environment}
            python = made["python"]
        slots = None
        if self.max_jobs is not None:
            kind = "plan" if job.step is None else self._of_steps
            slots = {"folder": str(work / ".slots"), "kind": kind, "count": self.max_jobs}
        return {
            "command": list(job.command(python)),
            "folder": folder,
            "environment": environment,
            "virtual_environment": made,
            "memory": None if self.memory is None else parse_memory(self.memory),
            "slots": slots,
            "pending_timeout": self.pending_timeout,
        }

    def _work_folder(self) -> Path:
        if self.work_folder is None:
            return _cache() / "jobs"
        # Absolute, because the handle is good in any folder.
        return Path(os.path.abspath(os.path.expanduser(self.work_folder)))

    def _interpreter(self) -> str:
        python = self.python or sys.executable
        # A bare name is looked for on PATH; anything else would be looked for in the job's folder.
        return os.path.abspath(os.path.expanduser(python)) if os.sep in python else python

    def submit(self, job: Job) -> Handle:
        spec = self.render(job)
        folder = Path(spec["folder"])
        try:
            with _claimed(folder) as claim:
                data = _read(folder / "handle") or _start_whole(folder, spec, claim)
        except TimeoutError:
            raise  # whoever is starting it may get on
        except OSError as error:
            raise BackendError(
                f"a job cannot be started in its folder: {error}",
                where=str(folder),
                remedy="give work_folder= a folder that can be written to, and has space",
            ) from error
        return Handle(job=job.name, data=data)

    def find(self, job: Job) -> Handle | None:
        folder = self._work_folder() / job.name
        if not folder.exists():
            return None
        with _claimed(folder):  # whoever was starting it is done, or dead
            data = _read(folder / "handle") or handle_data(str(folder), None)
        return Handle(job=job.name, data=data)

    def poll(self, handle: Handle) -> JobState:
        folder = _folder_here(handle)
        lives = _lives(handle)
        # Read afterwards: of a process that has ended, it is the last word.
        told = _read(folder / "state")
        if told is None and not folder.exists():
            return JobState(phase="gone", message="the job's folder is not there any more")
        state = msgspec.convert(told, JobState) if told else JobState(phase="pending")
        if lives or state.ended:
            return state
        code = _read(folder / "code")
        if code == 0:
            return JobState(phase="succeeded")
        last = _last_line(folder / "log")
        if state.phase == "pending":
            return _ended_before_it_began(code, last)
        return _ended_without_outcome(code, last)

    def logs(self, handle: Handle, cursor: str = "") -> LogPage:
        folder, start = _folder_here(handle), int(cursor or 0)
        ended = not _lives(handle)
        try:
            with open(folder / "log", "rb") as file:
                file.seek(start)
                data = file.read(_PAGE)
        except OSError:
            return LogPage((), cursor)
        end = data.rfind(b"\n") + 1
        # A line without its end is still being written, and comes with a later page; unless nobody
        # is left who writes, or no page could hold it.
        if (ended and len(data) < _PAGE) or (end == 0 and len(data) == _PAGE):
            end = len(data)
        lines = data[:end].decode("utf-8", "replace").splitlines()
        return LogPage(tuple(lines), str(start + end))

    def cancel(self, handle: Handle, grace: float) -> None:
        _folder_here(handle)
        if not _signal(handle, signal.SIGTERM):
            return
        deadline = time.monotonic() + grace + 5
        while time.monotonic() < deadline and _lives(handle):
            threading.Event().wait(0.05)
        _signal(handle, signal.SIGKILL)

    def cleanup(self, handle: Handle) -> None:
        folder = _folder_here(handle)
        # A process that has said how it ended, and does not come to its end: it may be stopped.
        _signal(handle, signal.SIGKILL)
        # Under another name first: a process that is about to end puts nothing more into it.
        removed = folder.with_name(f".{folder.name}.removed")
        with contextlib.suppress(OSError):
            folder.replace(removed)
        for left in (folder, removed):
            shutil.rmtree(left, ignore_errors=True)

    def check(self) -> list[Check]:
        """Whether the interpreter is there, has what it needs, and the machine has the memory."""
        python = self._interpreter()
        if self.virtual_environment:
            found = self._probe(
                "virtual-environment",
                "import ensurepip, platform, venv; print(platform.python_version())",
                "{python} {said} makes environments",
                f"install the packages venv and ensurepip for {python}",
            )
        else:
            found = self._probe(
                "runner",
                "from importlib.metadata import version; from zenml.core.runner import Task; "
                "print(version('zenml-core'))",
                "{python} has zenml-core {said}",
                f"{python} -m pip install zenml-core",
            )
        there = machine_memory()
        if self.memory is None or there is None:
            return [found]
        fits = parse_memory(self.memory) <= there
        detail = f"asks for {self.memory}; this machine has {in_words(there)}"
        return [found, Check("memory", fits, detail, None if fits else "give memory= less")]

    def _probe(self, name: str, code: str, good: str, remedy: str) -> Check:
        python = self._interpreter()
        try:
            done = subprocess.run(  # noqa: S603 - the user's own interpreter
                [python, "-c", code], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Check("interpreter", False, str(error), "give python= the path of one")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            return Check(name, False, last, remedy)
        return Check(name, True, good.format(python=python, said=done.stdout.strip()))


class OrchestratorSubprocessBackend(_SubprocessJobs, JobOrchestratorBackend):
    """Runs a pipeline in a process of its own on this machine, as a remote orchestrator would.

    Args:
        isolation: Whether that process executes the steps (``pipeline``), or has a process for each
            of them that is not cached, and waits (``step``). The other parameters hold for each.
        max_parallel_steps: How many independent steps may run at once; by default as many as there
            are processors.
    """

    isolation: Literal["pipeline", "step"] = "pipeline"
    max_parallel_steps: Annotated[int, Meta(ge=1)] | None = None

    _of_steps = "step"

    def step_backend(self) -> JobBackend | None:
        return self if self.isolation == "step" else None

    def parallel_steps(self) -> int | None:
        # The processes of steps share this machine.
        return self.max_parallel_steps or os.cpu_count()


class TrainingSubprocessBackend(_SubprocessJobs, JobTrainingBackend):
    """Trains in a process of its own on this machine, as a remote training service would."""


def _cache() -> Path:
    """Where this user keeps what can be made again. Raises ``BackendError`` if there is no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError as error:
        raise BackendError(
            "this user has no home folder to keep jobs and environments in",
            remedy="set HOME or XDG_CACHE_HOME to a folder that can be written to",
        ) from error
    return cache / "zenml"


# -- starting --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[int]:
    """The right to start the job of a folder, which one process has at a time.

    It is a lock: it ends with whoever has it, so that no time has to be guessed after which a
    claim is worth nothing.
    """
    deadline = time.monotonic() + _STARTING
    while (claim := _claim(folder)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError("another process has been starting it for too long")
        threading.Event().wait(0.02)
    try:
        yield claim
    finally:
        os.close(claim)


def _claim(folder: Path) -> int | None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "claim"
    try:
        claim = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None  # the folder is being tidied up
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Else it is the claim of a folder that was tidied up meanwhile.
        if os.path.samestat(os.fstat(claim), os.stat(path)):
            return claim
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(claim)
    return None


def _start_whole(folder: Path, spec: dict[str, Any], claim: int) -> dict[str, Any]:
    """Start the process of a job, or leave nothing of it: who is refused has no handle."""
    try:
        return _start(folder, spec, claim)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _start(folder: Path, spec: dict[str, Any], claim: int) -> dict[str, Any]:
    """Start the process of a job; gives what finds it again."""
    replace_file(str(folder / "spec"), json.dumps(spec))
    replace_file(str(folder / "code"), _UNKNOWN)
    inherited = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    launcher = [sys.executable, "-I", "-S", _launcher.__file__, str(folder), str(claim)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            launcher,
            cwd=folder,
            env={**inherited, **spec["environment"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # It has the claim as well until the handle is there, in case this client is killed.
            pass_fds=[claim],
            # It outlives the client, and Ctrl-C in the client's terminal is not for it.
            start_new_session=True,
        )
    data = handle_data(str(folder), process.pid)
    threading.Thread(target=_note_exit_code, args=(process, folder), daemon=True).start()
    try:
        replace_file(str(folder / "handle"), json.dumps(data))
    except OSError:
        process.kill()
        raise
    return data


def _note_exit_code(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Leave the exit code where anybody can find it. A client that ends first leaves none."""
    code = process.wait()
    # In place: there may be no space for another file, and that may be why it ended.
    with contextlib.suppress(OSError), open(folder / "code", "r+", encoding="ascii") as file:
        file.write(str(code).ljust(len(_UNKNOWN)))


# -- looking ---------------------------------------------------------------------------------------


def _folder_here(handle: Handle) -> Path:
    """The folder of a job of this machine.

    Raises:
        ConnectionError: it runs on another one, where a process id of ours says nothing about it.
    """
    machine = handle.data.get("machine")
    if machine not in (None, os.uname().nodename):
        raise ConnectionError(
            f"it is a process of the machine {machine}, and can be met only there"
        )
    return Path(handle.data["folder"])


def _read(path: Path) -> Any:
    """What a file says; None if it is not there."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _ended_before_it_began(code: int | None, last: str) -> JobState:
    if code is None or code < 0:
        # Nothing of the user's was run, and somebody or a restart of the machine ended it.
        return JobState(phase="failed", cause="PREEMPTED", message=f"{_how(code)} before it began")
    message = f"{_how(code)} before it began: {last}"
    return JobState(phase="failed", cause="INFRA", message=message)


def _ended_without_outcome(code: int | None, last: str) -> JobState:
    """How a runner ended that may have left no outcome. If it left one, that goes before this."""
    message = f"{_how(code)}: {last}" if last else _how(code)
    if code == -signal.SIGTERM:
        # A runner that works answers to this signal, so it had not begun to.
        return JobState(phase="failed", cause="PREEMPTED", message=message)
    if code and "No module named 'zenml" in last:
        remedy = "install zenml-core there, or give virtual_environment=True"
        return JobState(phase="failed", cause="IMAGE", message=message, remedy=remedy)
    return JobState(phase="failed", message=message)


def _how(code: int | None) -> str:
    if code is None:
        return "the process ended, and nobody saw how"
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _lives(handle: Handle) -> bool:
    pid = handle.data["pid"]
    if pid is None:  # its client came no further than to make the folder
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return born(pid) == handle.data["born"] and not _is_zombie(pid)


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
