"""The processing backend that uses the processors of one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Annotated, Any, Literal

from msgspec import Meta

from zenml.core import MapContext, ProcessingBackend, Unit, execute_unit

__all__ = ["ProcessingLocalBackend"]


class ProcessingLocalBackend(ProcessingBackend):
    """Spreads a step's work over threads or processes of this machine.

    Args:
        workers: How many units are worked on at once; by default as many as there are processors.
        mode: ``threads`` share this process and suit work that releases the interpreter lock, as
            Polars and NumPy do; ``processes`` suit work in pure Python, and survive the death of a
            worker.
    """

    workers: Annotated[int, Meta(ge=1)] | None = None
    mode: Literal["threads", "processes"] = "threads"

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        workers = min(self.workers or os.cpu_count() or 1, len(units))
        if self.mode == "processes":
            from zenml.local._processes import map_in_processes

            return map_in_processes(units, context, workers)
        if workers == 1:
            return ((index, execute_unit(unit, context)) for index, unit in enumerate(units))
        return _map_in_threads(units, context, workers)


def _map_in_threads(
    units: Sequence[Unit], context: MapContext, workers: int
) -> Iterator[tuple[int, Any]]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="zenml-unit")
    waiting = iter(enumerate(units))
    running: dict[Future[Any], int] = {}
    try:
        while True:
            # Twice as many as there are workers keeps each busy; ten thousand futures would not.
            while len(running) < 2 * workers:
                following = next(waiting, None)
                if following is None:
                    break
                running[pool.submit(execute_unit, following[1], context)] = following[0]
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
