"""The pipeline of a map: it is as large for a million units as for one."""

from __future__ import annotations

import apache_beam as beam

from zenml.beam._worker import ExecuteOrder, indexes

__all__ = ["pipeline_for"]


def pipeline_for(
    pipeline: beam.Pipeline, store: str, key: str, digest: str, count: int
) -> beam.PCollection[int]:
    """Add to a pipeline what carries out an order that is in the artifact store.

    Workers need this distribution and the store, and are told no more than these arguments. Each
    index is executed at least once; a unit's own exception ends no worker, and is in the store for
    whoever placed the order. The counters ``finished`` and ``raised`` of the namespace ``zenml``
    count indexes.

    Args:
        pipeline: What to add to.
        store: The artifact store's URL, as workers reach it.
        key: The order's key: ``PlacedOrder.order.key``.
        digest: The order's digest.
        count: How many indexes it has: ``PlacedOrder.count``.

    Returns:
        The indexes whose units have all returned.
    """
    return (
        pipeline
        | "Count" >> beam.Create([count])
        | "Indexes" >> beam.FlatMap(indexes)
        # Without it, whoever counts would do all the work as well.
        | "Spread" >> beam.Reshuffle()
        | "Execute" >> beam.ParDo(ExecuteOrder(store, key, digest))
    )
