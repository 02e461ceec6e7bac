"""Whole processes in tests: projects to run in them, and what a run may not leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Project", "nothing_left_behind", "processes_of_group", "wait_until"]


def wait_until(
    condition: Callable[[], Any], *, timeout: float = 30.0, what: str = "the condition"
) -> Any:
    """Wait until ``condition`` gives something true, and return that.

    Args:
        condition: Called again and again; cheap.
        timeout: Seconds until ``TimeoutError``: generous, because a busy machine is no defect.
        what: What is waited for, in the error's words.
    """
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come true within {timeout:g} seconds")
        time.sleep(0.005)
    return found


class Project:
    """A folder with a user's files in it, whose scripts run as a user would run them.

    Args:
        folder: Where to make it. It becomes a repository, so that nothing around it is one.
        files: File name to contents.
    """

    def __init__(self, folder: Path, files: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._groups: list[int] = []
        (folder / ".zenml").mkdir(parents=True, exist_ok=True)
        for name, text in (files or {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def start(
        self, *arguments: str, variables: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start ``python ARGUMENTS`` in the folder, as the leader of a process group of its own.

        Args:
            arguments: A script and its arguments, or ``-m`` and a module.
            variables: Environment variables, beside the present ones.
            options: Passed to ``subprocess.Popen``; output is captured as text unless they say
                otherwise.
        """
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, **(variables or {})},
            text=True,
            start_new_session=True,
            **{**piped, **options},
        )
        self._groups.append(process.pid)
        return process

    def run(
        self, *arguments: str, variables: Mapping[str, str] | None = None, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python ARGUMENTS`` to its end, whatever that is. See ``start``."""
        with self.start(*arguments, variables=variables) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def end_processes(self) -> None:
        """Kill whatever the started processes left behind; for the end of a test that failed."""
        for group in self._groups:
            if processes_of_group(group):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
        self._groups.clear()

    def zenml(self, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run ``zenml ARGUMENTS`` to its end, whatever that is."""
        return self.run("-m", "_zenml_main", *arguments, timeout=timeout)


def processes_of_group(group: int) -> list[int]:
    """Ids of the processes in a process group that have not ended (Linux).

    Args:
        group: Its id: the id of the process that ``Project.start`` returned.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # pid (command) state parent group …; the command may hold spaces and parentheses.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] not in "ZX":
                    found.append(int(entry.name))
    return sorted(found)


@contextlib.contextmanager
def nothing_left_behind(*, timeout: float = 15.0) -> Iterator[None]:
    """Fail unless every thread, child process and open file of the block has ended after it.

    Processes and files are compared where ``/proc`` lists them.
    """
    threads, children, files = set(threading.enumerate()), _children(), _open_files()

    def left() -> dict[str, list[str]]:
        return {
            "threads": [t.name for t in threading.enumerate() if t not in threads],
            "processes": [str(pid) for pid in _children() - children],
            "files": sorted(_open_files() - files),
        }

    yield
    try:
        wait_until(lambda: not any(left().values()), timeout=timeout)
    except TimeoutError:
        raise AssertionError(f"left behind: {left()}") from None


def _children() -> set[int]:
    found = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in task.read_text().split()}
    return found


def _open_files() -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            # Number and target: a file that was closed and another opened are two files.
            found.add(f"{link.name} -> {link.readlink()}")
    return found
