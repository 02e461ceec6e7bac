"""The processes of a run: found by what they were started with, and by nothing that they say."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from campaign_kit.journal import FOLDER


class Process(NamedTuple):
    """A process of a run, and what it is there: ``trainer supervisor``, ``child``, ``launcher``."""

    pid: int
    role: str


def processes_of(folder: Path) -> list[Process]:
    """Every process that works for the jobs of a run, supervisors first."""
    found: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(f"{folder}" in word for word in words):
                found[int(entry.name)] = words
    roles = {pid: _role(pid, words, found) for pid, words in found.items()}
    return sorted(
        (Process(pid, role) for pid, role in roles.items()), key=lambda p: "child" in p.role
    )


def _role(pid: int, words: list[str], found: dict[int, list[str]]) -> str:
    if "--child" in words:
        above = found.get(_parent(pid), [])
        return "trainer child" if _is_trainer(above) else "child"
    if "--task" in words:
        return "trainer supervisor" if _is_trainer(words) else "supervisor"
    return "launcher"


def _is_trainer(words: list[str]) -> bool:
    return any("/jobs/step." in word for word in words)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def left_of(folder: Path) -> list[int]:
    """Processes whose environment names the run, whatever they are."""
    wanted = f"{FOLDER}={folder}".encode()
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    left.append(int(entry.name))
            except OSError:
                continue
    return left


def send(pid: int, number: int) -> bool:
    """Signal a process; whether it was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def fork(work: Callable[[], int], output: Path) -> int:
    """Do something in a process, and group, of its own; gives its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        with open(output, "ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        # As of a program that a shell starts, whatever started us.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        code = work()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever it is, it must not go on as its parent
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


class Waiting:
    """A forked process, and how it ended.

    Attributes:
        code: Its exit code, negative for a signal; None while it runs.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None

    def ended(self) -> bool:
        """Whether it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def end_by(self, deadline: float) -> bool:
        """Wait for its end until a moment of the monotonic clock; whether it came."""
        while not self.ended():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True
