"""Units of work in the pods of a Job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from msgspec import Meta

from zenml.core import MapContext, ProcessingBackend, Unit
from zenml.k8s._options import KubernetesOptions

__all__ = ["ProcessingKubernetesBackend"]


class ProcessingKubernetesBackend(KubernetesOptions, ProcessingBackend):
    """Maps a step's units of work over the pods of an indexed Job.

    A pod that is evicted, runs out of memory or loses its node is followed by another one, which
    does what is left of its units. A unit's own exception ends the map at once.

    Args:
        parallelism: How many pods there may be at once.
        units_per_pod: How many units a pod executes, one after the other. By default so many that
            each place of ``parallelism`` has eight pods, one after the other, if there are enough
            units for that.
        backoff_limit_per_index: How often a pod that ended by itself is followed by another one.
            The cluster waits 10 seconds before the first, and then twice as long each time.
            Evictions are not counted.
        timeout: Seconds after which a map is given up, what it waits for a place included; None for
            no limit.
        pending_timeout: Seconds that a map may wait for a place while none of its pods runs.
    """

    parallelism: Annotated[int, Meta(ge=1)] = 8
    units_per_pod: Annotated[int, Meta(ge=1)] | None = None
    backoff_limit_per_index: Annotated[int, Meta(ge=0)] = 3
    timeout: Annotated[float, Meta(ge=1)] | None = None
    pending_timeout: Annotated[float, Meta(gt=0)] = 1800.0

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        """See ``ProcessingBackend.map``."""
        from zenml.k8s._map import map_units

        return map_units(self, units, context)
