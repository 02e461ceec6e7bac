"""How much memory processes hold at their peak: those of a session together, or each one."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Seconds between two looks: reading the maps of a large process stops it for milliseconds.
_INTERVAL = 0.2


class PeakMemory:
    """Looks at the processes of a session until it is closed; without ``/proc``, at none.

    Pages that several processes share count for each with its share (Linux' "proportional set
    size"), so that the sum is what the session takes. Files in the page cache do not count.
    """

    def __init__(self, session: int) -> None:
        self.mib = 0.0
        self._session = session
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> float:
        """Look no longer; returns the peak in MiB."""
        self._ended.set()
        self._thread.join()
        return self.mib

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self.mib = max(self.mib, _held_by(_processes_of(self._session)))


class PeakMemories:
    """Looks at all that this process has started, and at what that has, until it is closed.

    Args:
        roles: Names of kinds of processes, and what to look for in a process's command line; the
            first that is found there is its kind.
    """

    def __init__(self, roles: Mapping[str, str]) -> None:
        self._roles = roles
        self._mib: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> dict[str, float]:
        """Look no longer; returns the largest resident set of one process of each kind, in MiB."""
        self._ended.set()
        self._thread.join()
        return self._mib

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            for process in _processes_below(os.getpid()):
                with contextlib.suppress(OSError):
                    line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    peak = re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())
                    found = (role for role, what in self._roles.items() if re.search(what, line))
                    role = next(found, None)
                    if role is not None and peak is not None:
                        self._mib[role] = max(self._mib.get(role, 0.0), int(peak[1]) / 1024)


def _processes_below(process: int) -> list[Path]:
    found = []
    left = [process]
    while left:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{left.pop()}/task").iterdir():
                children = (task / "children").read_text().split()
                found += [Path("/proc", child) for child in children]
                left += map(int, children)
    return found


def _processes_of(session: int) -> list[Path]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may be gone by now
            if os.getsid(int(folder.name)) == session:
                found.append(folder)
    return found


def _held_by(processes: Sequence[Path]) -> float:
    """MiB that processes hold together, as far as they are not gone."""
    if len(processes) == 1:
        # It shares its pages with nobody, and is not stopped by being asked for their number.
        with contextlib.suppress(OSError):
            pages = int((processes[0] / "statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return sum(map(_share_of, processes))


def _share_of(process: Path) -> float:
    """MiB that a process holds, with its share of what it has with others; 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
