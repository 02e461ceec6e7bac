"""A cluster on this machine, in processes that end with whoever started it.

Not ``LocalCluster`` in the client itself: its workers would run the user's script again in order to
start, as ``multiprocessing`` does, and its threads would be the client's. A process in between has
both, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

from zenml.core import errors

__all__ = ["host", "local_cluster"]


@contextlib.contextmanager
def local_cluster(workers: int, threads_per_worker: int, timeout: float) -> Iterator[str]:
    """Start a cluster; returns its address. Leaving the block ends it, whatever it is doing.

    Raises:
        RunError: it did not start.
    """
    scratch = tempfile.mkdtemp(prefix="zenml-dask-")
    told = [workers, threads_per_worker, scratch]
    # Exactly our path and arguments, so that modules are found and see what they would here.
    code = (
        f"import json, sys; sys.path[:] = {[*map(str, sys.path)]!r}; "
        f"from acme_zenml_dask._cluster import host; host(*json.loads({json.dumps(told)!r}))"
    )
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and a fixed command
        [sys.executable, "-c", code, *sys.argv[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C in a terminal reaches the client, which ends this, and says why once.
        start_new_session=True,
    )
    try:
        yield _address(process, timeout)
    finally:
        _end(process)
        shutil.rmtree(scratch, ignore_errors=True)


def _address(process: subprocess.Popen[bytes], timeout: float) -> str:
    assert process.stdout is not None
    late = threading.Timer(timeout, process.kill)
    late.daemon = True
    late.start()
    try:
        line = process.stdout.readline()
    finally:
        late.cancel()
        late.join()
    if not line.endswith(b"\n"):
        code = process.wait()
        raise errors.RunError(
            f"a Dask cluster on this machine did not start within {timeout:g} seconds"
            if code == -signal.SIGKILL
            else f"a Dask cluster on this machine did not start (exit code {code})",
            remedy="see above for what it printed; 'zenml backend check' tries again",
        )
    return line.decode().strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


# -- the process in between ----------------------------------------------------------------------


def host(workers: int, threads_per_worker: int, scratch: str) -> None:
    """Keep a cluster until standard input ends; its address is all that goes to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what units print
    threading.Thread(target=_end_with, args=[given, scratch], daemon=True).start()

    import dask
    from distributed import LocalCluster

    # A unit whose worker died comes back to the client, which knows what else was under way.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=threads_per_worker,
            processes=True,
            host="127.0.0.1",
            # Dask's own share is that of one processor, however few workers there are.
            memory_limit=1 / workers,
            # Any port: the usual one may be taken by a cluster that somebody looks at.
            dashboard_address="127.0.0.1:0",
            local_directory=scratch,
            # The client says what becomes of workers.
            silence_logs=logging.CRITICAL,
        )
        print(cluster.scheduler_address, file=answers, flush=True)
        threading.Event().wait()


def _end_with(given: IO[bytes], scratch: str) -> None:
    """Wait until there is no client, then end this process and its workers, amid a unit too."""
    given.read()
    shutil.rmtree(scratch, ignore_errors=True)
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(0)
