"""``python -m zenml.core.runner --store URL --task KEY --digest SHA256``.

The one command that a remote environment starts. It needs the artifact store, and nothing else.
"""

from __future__ import annotations

import argparse
import sys


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m zenml.core.runner")
    parser.add_argument("--store", required=True)
    parser.add_argument("--task")
    parser.add_argument("--digest")
    parser.add_argument("--child", metavar="REPORT", help=argparse.SUPPRESS)
    parser.add_argument("--attempt", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--workspace", help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is None:
        if not given.task or not given.digest:
            parser.error("--task and --digest are needed")
        from zenml.core.runner._start import start_child

        folder = given.task.rpartition("/")[0]
        started = start_child(given.store, int(folder.rpartition("/")[2]))
        from zenml.core.runner._supervisor import supervise

        return supervise(given.store, folder, given.digest, started)
    _die_with_parent(given.parent)
    import msgspec

    from zenml.core.jobs._task import Task
    from zenml.core.runner._child import main

    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    return main(given.store, task, given.attempt, given.child, given.workspace)


def _die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its supervisor ends, however that comes about.

    ``PR_SET_PDEATHSIG`` of prctl(2); elsewhere than on Linux an orphan ends with its work.
    """
    if sys.platform == "linux":
        import ctypes
        import os
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:  # it had ended before we asked
            sys.exit(1)


if __name__ == "__main__":
    sys.exit(_main())
