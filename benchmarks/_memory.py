"""How much memory a session of processes holds at its peak, shared pages counted once."""

from __future__ import annotations

import contextlib
import os
import threading
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
            self.mib = max(self.mib, sum(map(_held_by, _processes_of(self._session))))


def _processes_of(session: int) -> list[Path]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may be gone by now
            if os.getsid(int(folder.name)) == session:
                found.append(folder)
    return found


def _held_by(process: Path) -> float:
    """MiB that a process holds; 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
