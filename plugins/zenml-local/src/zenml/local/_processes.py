"""Maps units over worker processes that speak JSON on pipes.

Not ``multiprocessing``: it pickles what it sends, and runs the user's script again in each worker.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import msgspec

from zenml.core import Answer, MapContext, Unit, errors
from zenml.local._worker import Order

__all__ = ["map_in_processes"]

#: How often a unit may take its worker down with it before it is held to be the cause.
_DEATHS = 2

_MAIN = "from zenml.local._worker import main; main()"


def map_in_processes(
    units: Sequence[Unit], context: MapContext, workers: int
) -> Iterator[tuple[int, Any]]:
    """See ``ProcessingBackend.map``."""
    pool = _Pool(units, context, workers)
    try:
        yield from pool.results()
    finally:
        pool.close()


class _Pool:
    """Worker processes, and a thread for each that feeds it and waits for its answers."""

    def __init__(self, units: Sequence[Unit], context: MapContext, workers: int) -> None:
        self._units = units
        self._context = context
        self._left = deque(range(len(units)))
        self._deaths: dict[int, int] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._done: SimpleQueue[tuple[int, Any] | BaseException] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name="zenml-worker", daemon=True)
            for _ in range(workers)
        ]

    def results(self) -> Iterator[tuple[int, Any]]:
        for thread in self._threads:
            thread.start()
        for _ in range(len(self._units)):
            done = self._done.get()
            if isinstance(done, BaseException):
                raise done
            yield done

    def close(self) -> None:
        """End the workers; what they were doing is abandoned."""
        with self._lock:
            self._closed = True
            self._left.clear()
            processes = list(self._processes)
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=10)

    # -- one thread per worker -------------------------------------------------------------------

    def _serve(self) -> None:
        process: subprocess.Popen[bytes] | None = None
        try:
            while (index := self._take()) is not None:
                process = process or self._start()
                answer = self._ask(process, index)
                if answer is None:
                    self._bury(process, index)
                    process = None
                else:
                    self._done.put(answer.exception() or (index, answer.value))
        except BaseException as error:  # noqa: BLE001 - the client waits for it
            self._done.put(error)
        finally:
            if process is not None:
                self._end(process)

    def _take(self) -> int | None:
        with self._lock:
            return self._left.popleft() if self._left and not self._closed else None

    def _start(self) -> subprocess.Popen[bytes]:
        # Exactly our path and arguments, so that a module is imported as it would be here: "-c" and
        # PYTHONPATH alone would put the current folder first, where it may hide the script's own.
        code = f"import sys; sys.path[:] = {[*map(str, sys.path)]!r}; {_MAIN}"
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and a fixed command
            [sys.executable, "-c", code, *sys.argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with self._lock:
            self._processes.add(process)
            closed = self._closed
        if closed:
            process.terminate()
        return process

    def _ask(self, process: subprocess.Popen[bytes], index: int) -> Answer | None:
        """Have a worker execute a unit; None if it died over it."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(
                msgspec.json.encode(Order(self._units[index], self._context)) + b"\n"
            )
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            return None
        return msgspec.json.decode(line, type=Answer) if line.endswith(b"\n") else None

    def _bury(self, process: subprocess.Popen[bytes], index: int) -> None:
        """A worker died: give its unit to another, unless the unit seems to be the cause."""
        code = self._end(process)
        with self._lock:
            if self._closed:
                return
            self._deaths[index] = deaths = self._deaths.get(index, 0) + 1
            if deaths < _DEATHS:
                self._left.appendleft(index)
                return
        self._done.put(_death(self._units[index], self._context, code, deaths))

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # it died with something unread in the pipe
        code = process.wait()
        with self._lock:
            self._processes.discard(process)
        return code


def _death(unit: Unit, context: MapContext, code: int, deaths: int) -> errors.RunError:
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    hint = "it may need more memory: use fewer workers, or smaller shards"
    return errors.RunError(
        f"a unit of work ended its worker process {deaths} times ({how})",
        where=f"{unit.function} in step '{context.step}'",
        remedy=hint
        if code == -signal.SIGKILL
        else "run it with mode='threads' to see it fail here",
    )
