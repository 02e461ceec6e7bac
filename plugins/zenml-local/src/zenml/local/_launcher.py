"""A process on its way to being a job: it waits for its turn, gets ready, and becomes the runner.

Started by its path, with ``python -I -S``: it has the standard library and nothing else. It ends in
``exec``, so that process id, birth and group stay what they were, and who can find or cancel the
job can do so before it has begun. A job's folder holds::

    claim     locked while the job is being started, so that it is started once
    spec      what the client rendered
    handle    how to find the process; written by the client and by the process itself
    state     the process's own word: pending and why, running, or failed and why
    log       what the process printed, and what made its environment
    code      the exit code; null unless the client has seen the end
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["born", "handle_data", "in_words", "machine_memory", "replace_file"]

_T = TypeVar("_T")

#: Seconds between looks at a lock that another process holds.
_LOOK = 0.1

#: Seconds that the process goes on waiting when its client should have given up: the client's word
#: comes first, and without a client nothing waits for ever.
_MARGIN = 60.0

#: The file that says that an environment is whole. It is written last.
_COMPLETE = "zenml.json"


class _RefusedError(Exception):
    """The job cannot begin."""

    def __init__(self, cause: str, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.state = {"cause": cause, "message": message, "remedy": remedy}


class _Job:
    """The job that this process is to become."""

    def __init__(self, folder: str, spec: dict[str, Any]) -> None:
        self.folder = folder
        self.spec = spec
        self.limit = float(spec["pending_timeout"])
        self.deadline = time.monotonic() + self.limit + _MARGIN
        self._told: dict[str, Any] = {}

    def tell(self, phase: str, **more: Any) -> None:
        """Say how the job stands."""
        state = {"phase": phase, **more}
        if state != self._told:
            replace_file(os.path.join(self.folder, "state"), json.dumps(state))
            self._told = state

    def wait_for(self, take: Callable[[], _T | None], why: Callable[[], str]) -> _T:
        """Call ``take`` until it gives something; ``why`` says meanwhile what that waits for."""
        while (taken := take()) is None:
            self.tell("pending", message=why())
            if time.monotonic() > self.deadline:
                late = f"it found no place to run within {self.limit:.0f} s: it {why()}"
                raise _RefusedError("UNSCHEDULABLE", late)
            time.sleep(_LOOK)
        return taken


def main(folder: str, claim: int) -> int:
    """Become the job of a folder; returns only if that cannot be."""
    # The client does the same, but may be killed before it comes to it.
    replace_file(os.path.join(folder, "handle"), json.dumps(handle_data(folder, os.getpid())))
    os.close(claim)
    with open(os.path.join(folder, "spec"), encoding="utf-8") as file:
        job = _Job(folder, json.load(file))
    try:
        _see_that_it_fits(job)
        _take_slot(job)
        _prepare_environment(job)
        _become(job)
    except _RefusedError as refused:
        job.tell("failed", **refused.state)
    except OSError as error:
        job.tell("failed", cause="INFRA", message=f"the job cannot begin: {error}")
    return 1


# -- its turn --------------------------------------------------------------------------------------


def _see_that_it_fits(job: _Job) -> None:
    asked, there = job.spec["memory"], machine_memory()
    if asked is None or there is None or asked <= there:
        return
    state = {
        "cause": "UNSCHEDULABLE",
        "message": f"asks for {in_words(asked)} of memory; this machine has {in_words(there)}",
        "remedy": "give memory= no more than that, or use a larger machine",
    }
    job.tell("pending", hopeless=True, **state)
    # As with a service, it is the client who gives up.
    time.sleep(max(0.0, job.deadline - time.monotonic()))
    raise _RefusedError(**state)


def _take_slot(job: _Job) -> None:
    """Lock one of as many files as there may be jobs, and keep it over ``exec``.

    However the job ends, its end opens the lock.
    """
    slots = job.spec["slots"]
    if slots is None:
        return
    os.makedirs(slots["folder"], exist_ok=True)
    paths = [f"{slots['folder']}/{slots['kind']}-{number}" for number in range(slots["count"])]

    def take() -> int | None:
        return next((held for path in paths if (held := _lock(path)) is not None), None)

    def why() -> str:
        most = f"at most {slots['count']} may run at once (max_jobs)"
        return f"waits for the end of {_listed([_text(path) for path in paths])}: {most}"

    held = job.wait_for(take, why)
    os.ftruncate(held, 0)
    os.pwrite(held, os.path.basename(job.folder).encode(), 0)
    os.set_inheritable(held, True)


# -- its environment -------------------------------------------------------------------------------


def _prepare_environment(job: _Job) -> None:
    """Have the job's virtual environment made, unless it is there; one process makes it."""
    wanted = job.spec["virtual_environment"]
    if wanted is None:
        return
    folder: str = wanted["folder"]
    if not os.path.exists(os.path.join(folder, _COMPLETE)):
        try:
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            lock = job.wait_for(
                lambda: _lock(f"{folder}.lock"),
                lambda: "waits for another job, which makes the same environment",
            )
            # Whoever had the lock may have made it.
            if not os.path.exists(os.path.join(folder, _COMPLETE)):
                _make_environment(job, wanted, lock)
            os.close(lock)
        except OSError as error:
            remedy = "set XDG_CACHE_HOME to a folder that can be written to, and has space"
            message = f"the environment cannot be made: {error}"
            raise _RefusedError("IMAGE", message, remedy) from error
    os.environ["PATH"] = os.pathsep.join(
        [os.path.join(folder, "bin"), *filter(None, [os.environ.get("PATH")])]
    )


def _make_environment(job: _Job, wanted: dict[str, Any], lock: int) -> None:
    import shutil
    import subprocess

    job.tell("pending", cause="IMAGE", message=f"installs {_listed(wanted['requirements'])}")
    # What a process left that was killed over it is worth nothing.
    shutil.rmtree(wanted["folder"], ignore_errors=True)
    for command in wanted["commands"]:
        begin = os.fstat(1).st_size
        try:
            done = subprocess.run(  # noqa: S603 - what the client rendered
                command,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                timeout=job.deadline - time.monotonic(),
                check=False,
                # An installer that outlives this process keeps everybody else out until it ends.
                pass_fds=[lock],
            )
        except subprocess.TimeoutExpired as error:
            late = f"the environment was not made within {job.limit:.0f} s"
            raise _RefusedError("IMAGE", late) from error
        except OSError as error:
            raise _no_interpreter(command[0], error) from error
        if done.returncode:
            output = _output(os.path.join(job.folder, "log"), begin)
            # The job's own log goes when the job is tidied up.
            kept = f"{wanted['folder']}.log"
            replace_file(kept, output)
            how = _last_words(output) or f"{command[0]} ended with exit code {done.returncode}"
            raise _RefusedError("IMAGE", f"the environment cannot be made: {how} (see {kept})")
    contents = {"requirements": wanted["requirements"], "commands": wanted["commands"]}
    replace_file(os.path.join(wanted["folder"], _COMPLETE), json.dumps(contents, indent=1))


def _output(log: str, begin: int) -> str:
    with open(log, "rb") as file:
        file.seek(begin)
        return file.read().decode("utf-8", "replace")


def _last_words(output: str) -> str:
    """What an installer says about why it failed: errors and causes, or else its last lines."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("[notice]")]
    errors = [line for line in lines if line.lower().startswith(("cause", "error"))]
    return " ".join((errors or lines)[-3:])[:600]


# -- its beginning ---------------------------------------------------------------------------------


def _become(job: _Job) -> None:
    if job.spec["memory"] is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        asked = job.spec["memory"]
        most = asked if hard == resource.RLIM_INFINITY else min(asked, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    command = job.spec["command"]
    job.tell("running")
    try:
        os.execvp(command[0], command)  # noqa: S606 - what the client rendered
    except OSError as error:
        raise _no_interpreter(command[0], error) from error


def _no_interpreter(path: str, error: OSError) -> _RefusedError:
    message = f"the interpreter {path} cannot be started: {error.strerror}"
    return _RefusedError("IMAGE", message, "give python= the path of one")


# -- what both sides of the start use --------------------------------------------------------------


def handle_data(folder: str, pid: int | None) -> dict[str, Any]:
    """What finds a process again, and tells it from any other; or a folder without a process."""
    began = "" if pid is None else born(pid)
    return {"folder": folder, "pid": pid, "born": began, "machine": os.uname().nodename}


def born(pid: int) -> str:
    """When a process began, in the kernel's own ticks: a process id alone is used again."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def replace_file(path: str, text: str) -> None:
    """Put a file in place as a whole."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(draft, path)


def machine_memory() -> int | None:
    """Bytes of memory of this machine; None if it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def in_words(size: int) -> str:
    """Bytes in the largest unit of which there is at least one: ``1.5 GiB``."""
    scaled, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if scaled < 1024:
            break
        scaled, unit = scaled / 1024, larger
    return f"{scaled:.1f}".removesuffix(".0") + f" {unit}"


def _lock(path: str) -> int | None:
    """Lock a file, which is made if need be; None if another process has locked it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read() or "a job"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
