"""What Beam's workers call: pickled by its name, and with nothing but three strings."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from zenml.core import WorkOrder
from zenml.core.errors import StoreUnavailableError

__all__ = ["ExecuteOrder", "indexes"]

_log = logging.getLogger(__name__)


def indexes(count: int) -> Iterator[int]:
    """All indexes of an order of ``count``."""
    yield from range(count)


class ExecuteOrder(beam.DoFn):  # type: ignore[misc]
    """Executes indexes of an order; gives those whose units have all returned.

    Args:
        store: The artifact store's URL.
        key: The order's key.
        digest: The order's digest.
    """

    def __init__(self, store: str, key: str, digest: str) -> None:
        super().__init__()
        self._told = (store, key, digest)
        self._finished = Metrics.counter("zenml", "finished")
        self._raised = Metrics.counter("zenml", "raised")

    def setup(self) -> None:
        """Once in each worker."""
        self._order = WorkOrder.open(*self._told)
        self._over = False
        _free_standard_output()

    def process(self, index: int) -> list[int]:
        """Execute an index.

        Raises:
            StoreError: the store cannot be used, or a unit could not; the engine tries again.
        """
        if self._over:
            return []  # a unit has raised, so nobody wants the others' results
        answer = self._order.execute(index)
        if answer is None:
            self._finished.inc()
            return [index]
        error = answer.exception()
        if isinstance(error, StoreUnavailableError):
            raise error
        # Tried again, it would raise again. The client hears of it from the store.
        self._raised.inc()
        self._over = True
        _log.warning("index %d: %s: %s", index, answer.error, answer.message)
        return []


def _free_standard_output() -> None:
    """Let units print in a process of Beam's worker pool, which never reads what it pipes."""
    with contextlib.suppress(OSError):
        if sys.argv[:1] == ["-c"] and stat.S_ISFIFO(os.fstat(1).st_mode):
            os.dup2(2, 1)
