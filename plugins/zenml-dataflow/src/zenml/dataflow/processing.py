"""Units of work as a job on Dataflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from zenml.core import MapContext, ProcessingBackend, Unit
from zenml.dataflow._options import DataflowOptions

__all__ = ["ProcessingDataFlowBackend"]


class ProcessingDataFlowBackend(DataflowOptions, ProcessingBackend):
    """Maps a step's units of work over the workers of one batch job on Google Cloud Dataflow.

    The job is as large for a million units as for one: the units are an object in the artifact
    store, and workers are told where it is. Dataflow follows a worker that dies with another one. A
    unit's own exception ends the map at once, and the job with it.
    """

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        """See ``ProcessingBackend.map``."""
        from zenml.dataflow._map import map_units

        return map_units(self, units, context)
