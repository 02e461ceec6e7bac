"""What Spark's workers call: they are told an order, and leave its results in the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyspark import TaskContext

from zenml.core import WorkOrder
from zenml.core.errors import StoreUnavailableError

if TYPE_CHECKING:
    from pyspark.accumulators import Accumulator

__all__ = ["execute"]


def execute(
    store: str, key: str, digest: str, raised: Accumulator[int], indexes: Iterator[int]
) -> None:
    """Do the indexes of one task; counts those of which a unit has raised.

    What is left when a unit has raised, in whatever task, is not begun.

    Raises:
        StoreError: the order cannot be read, or results cannot be written. Spark tries again.
    """
    order = WorkOrder.open(store, key, digest)
    for index in indexes:
        try:
            # Spark needs a moment to cancel a job, in which it begins further tasks.
            if order.finished()[1]:
                return
            if order.execute(index) is not None:
                raised.add(1)
        except StoreUnavailableError:
            task = TaskContext.get()
            # Spark tries again at once, and a store that is away needs longer than that.
            time.sleep(2.0 ** (task.attemptNumber() if task else 0))
            raise
