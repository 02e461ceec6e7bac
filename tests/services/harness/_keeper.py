"""Runs a command as the first process of a container is run; see ``remote.start``.

    python -I -S _keeper.py PROGRAM ARGUMENT…

The first line on standard input is a JSON object, all the variables of the command. A further one
is the number of a signal for it. The end of standard input, which comes when whoever holds the
other end has gone, kills it. When it has ended, all that it left is killed as well, and its exit
code is this program's.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading

_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36


def main(command: list[str]) -> int:
    """Run the command to its end."""
    linux = sys.platform == "linux"
    libc = ctypes.CDLL(None) if linux else None
    if libc is not None:
        # Whatever loses its parent becomes a child of this process, so it can be found.
        libc.prctl(_SET_SUBREAPER, 1)

    def bind() -> None:
        if libc is not None:
            libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)

    try:
        child = subprocess.Popen(
            command,
            env=json.loads(sys.stdin.buffer.readline()),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=bind,  # noqa: PLW1509 - there is no other thread yet
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 126 if isinstance(error, PermissionError) else 127
    threading.Thread(target=_listen, args=(child,), daemon=True).start()
    code = child.wait()
    _kill_rest(child)
    return code if code >= 0 else 128 - code


def _listen(child: subprocess.Popen[bytes]) -> None:
    for line in sys.stdin.buffer:
        child.send_signal(int(line))
    child.kill()


def _kill_rest(child: subprocess.Popen[bytes]) -> None:
    if sys.platform != "linux":
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        return
    while left := _children():
        for pid in left:
            # A child stays, at least as a zombie, until it is waited for here: the id is its own.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _children() -> list[int]:
    threads = os.listdir("/proc/self/task")
    found = []
    for thread in threads:
        try:
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                found += [int(pid) for pid in file.read().split()]
        except FileNotFoundError:
            continue  # the thread has ended
    return found


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # At once: a thread may still wait for a line.
    os._exit(code)
