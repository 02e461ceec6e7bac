"""The processing backend that uses the processors of one machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from zenml.core import MapContext, ProcessingBackend, Unit, execute_unit

__all__ = ["ProcessingBaseBackend", "ProcessingLocalBackend"]


#: Threads beside one for each processor: the data path of zenml-steps takes 4 % less with one.
_SPARE: Final = 1


class ProcessingLocalBackend(ProcessingBackend):
    """Spreads a step's work over threads or processes of this machine.

    Args:
        workers: How many units are worked on at once; by default as many as there are processors,
            and one thread more, for while others wait for storage or for the interpreter.
        mode: ``threads`` share this process and suit work that releases the interpreter lock, as
            Polars and NumPy do; ``processes`` suit work in pure Python, and survive the death of a
            worker.
    """

    workers: Annotated[int, Meta(ge=1)] | None = None
    mode: Literal["threads", "processes"] = "threads"

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        usual = (os.cpu_count() or 1) + (_SPARE if self.mode == "threads" else 0)
        workers = max(1, min(self.workers or usual, len(units)))
        if self.mode == "processes":
            from zenml.local._processes import map_in_processes

            return map_in_processes(units, context, workers)
        if workers == 1:
            return ((index, execute_unit(unit, context)) for index, unit in enumerate(units))
        return _map_in_threads(units, context, workers)


#: The name under which the first ZenML knew it.
ProcessingBaseBackend = ProcessingLocalBackend


def _map_in_threads(
    units: Sequence[Unit], context: MapContext, workers: int
) -> Iterator[tuple[int, Any]]:
    waiting = iter(enumerate(units))
    lock, closed = threading.Lock(), threading.Event()
    done: SimpleQueue[tuple[int, Any] | BaseException] = SimpleQueue()

    def serve() -> None:
        while not closed.is_set():
            with lock:
                following = next(waiting, None)
            if following is None:
                return
            try:
                done.put((following[0], execute_unit(following[1], context)))
            except BaseException as error:  # noqa: BLE001 - raised where the results are read
                done.put(error)

    # Daemons, unlike those of ThreadPoolExecutor: a second Ctrl-C leaves whatever a unit does.
    threads = [
        threading.Thread(target=serve, name="zenml-unit", daemon=True) for _ in range(workers)
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in units:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        closed.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
