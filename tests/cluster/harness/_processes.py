"""The processes of one cluster: found by what no other process has, and ended by their ids."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

__all__ = ["MARK", "Identity", "end", "identity", "is_alive", "of_run"]

#: The variable that every process of a cluster has, with the run folder as its value. A
#: containerd-shim inherits it from containerd; what runs in pods does not, and is known by its
#: control group.
MARK = "ZENML_TEST_CLUSTER"

#: A process id, and when the process began, in clock ticks since the machine did.
Identity = tuple[int, int]


def identity(pid: int) -> Identity | None:
    """What tells a process apart from a later one of the same id; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    state, *numbers = stat.rpartition(")")[2].split()
    return None if state in "ZX" else (pid, int(numbers[18]))


def is_alive(process: Identity) -> bool:
    """Whether this very process is there."""
    return identity(process[0]) == process


def of_run(run: Path) -> list[Identity]:
    """Every process of the cluster in a run folder, those in its pods last."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    ours = [(pid, _kind(pid, run)) for pid in pids]
    found = (identity(pid) for pid, kind in sorted(ours, key=lambda one: one[1]) if kind)
    return [process for process in found if process is not None]


def end(run: Path, seconds: float = 20.0) -> None:
    """End every process of the cluster in a run folder, whatever state it is in."""
    deadline = time.monotonic() + seconds
    while left := of_run(run):
        if time.monotonic() > deadline:
            raise TimeoutError(f"these processes of {run} do not end: {left}")
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    # The handle stands for one process, so this look cannot be at another.
                    if _kind(pid, run):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)
        time.sleep(0.05)


def _kind(pid: int, run: Path) -> int:
    """1 for a process of the cluster, 2 for one in a pod of it, 0 for any other."""
    folder = Path(f"/proc/{pid}")
    try:
        if f"{MARK}={run}".encode() in (folder / "environ").read_bytes().split(b"\0"):
            return 1
        groups = (folder / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return 2 if any(f"/{run.name}/" in f"{group}/" for group in groups) else 0
