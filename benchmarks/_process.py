"""One process from start to end: what it cost, or why it failed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from _memory import PeakMemory

#: Variables which would have a measured interpreter compile its sources at every start, profile
#: itself, or find other packages than those installed beside it.
_UNWANTED = (
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONPYCACHEPREFIX",
    "PYTHONSAFEPATH",
    "PYTHONSTARTUP",
    "PYTHONUNBUFFERED",
    "VIRTUAL_ENV",
)


class ProcessFailedError(Exception):
    """A process could not be started, failed, or passed its time limit; the message says which."""


@dataclass(frozen=True)
class Cost:
    """Seconds on the wall and on the processors (children included), and peak memory."""

    wall: float
    cpu: float
    #: Resident set of the largest process.
    peak_mib: float
    #: What all processes held together; None if that was not asked for.
    sum_mib: float | None = None


def clean_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what distorts an interpreter, plus ``changes``."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    return kept | dict(changes or {})


def run_process(
    arguments: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    timeout: float = 60.0,
    stderr: Path | None = None,
    *,
    memory: bool = False,
) -> Cost:
    """Run one process to its end and return what it cost.

    Output goes to files, not pipes: a thread that reads would compete with what is measured. The
    process leads its own session, so that whatever it leaves behind (a helper server of a peer)
    ends with it and cannot disturb the next measurement.

    Args:
        arguments: The command.
        cwd: Where it runs.
        environment: What is added to ``clean_environment()``.
        timeout: Seconds after which it is killed.
        stderr: Keeps what it writes to standard error.
        memory: Look several times a second at what all of its processes hold together.

    Raises:
        ProcessFailedError: it could not be started, failed, or took longer than ``timeout``.
    """
    with tempfile.TemporaryDirectory(prefix="zenml-benchmark-output-") as folder:
        out, err = Path(folder, "out"), stderr or Path(folder, "err")
        with out.open("wb") as out_file, err.open("wb") as err_file:
            started = time.perf_counter()
            try:
                process = subprocess.Popen(
                    list(arguments),
                    cwd=cwd,
                    env=clean_environment(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=out_file,
                    stderr=err_file,
                    start_new_session=True,
                )
            except OSError as error:
                raise ProcessFailedError(f"{arguments[0]}: {error.strerror}") from error
            expired = threading.Event()
            alarm = threading.Timer(timeout, _expire, (process.pid, expired))
            alarm.start()
            watch = PeakMemory(process.pid) if memory else None
            try:
                # wait4 rather than Popen.wait: it alone tells the cost of this one child.
                _, status, usage = os.wait4(process.pid, 0)
                wall = time.perf_counter() - started
                process.returncode = os.waitstatus_to_exitcode(status)
            finally:
                if watch:
                    watch.close()
                alarm.cancel()
                _kill_session(process.pid)
        if expired.is_set():
            raise ProcessFailedError(f"took longer than {timeout:.0f} s")
        if process.returncode != 0:
            raise ProcessFailedError(_last_words(process.returncode, out, err))
    # Linux counts the resident set in KiB, macOS in bytes.
    unit = 1024 if sys.platform == "linux" else 1024**2
    together = watch.mib if watch else None
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit, together)


def _expire(session: int, expired: threading.Event) -> None:
    expired.set()
    _kill_session(session)


def _kill_session(session: int) -> None:
    # Nobody left is the usual case; macOS answers with a refusal where only zombies are.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)


def _last_words(code: int, out: Path, err: Path) -> str:
    for path in (err, out):
        lines = path.read_text(errors="replace").strip().splitlines()
        if lines:
            return f"exit code {code}: {lines[-1].strip()[:300]}"
    return f"exit code {code}, without a word"
