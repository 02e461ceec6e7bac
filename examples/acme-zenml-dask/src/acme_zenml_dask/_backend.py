"""The backend, as it is written into a pipeline: parameters, and nothing that is imported late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from msgspec import Meta

from zenml.core import Check, MapContext, ProcessingBackend, Unit

__all__ = ["ProcessingDaskBackend"]


class ProcessingDaskBackend(ProcessingBackend):
    """Spreads a step's work over the workers of a Dask cluster.

    Args:
        address: The scheduler of a cluster that is there, ``tcp://scheduler:8786``. Its workers get
            the code of the repository through the artifact store, which they have to reach.
            Without one, each map starts a cluster on this machine, and ends it.
        workers: Worker processes of a cluster that a map starts.
        threads_per_worker: Units that each of them works on at once.
        timeout: Seconds that the scheduler may take to answer, and that a map waits while there is
            no worker.
    """

    address: str | None = None
    workers: Annotated[int, Meta(ge=1)] = 2
    threads_per_worker: Annotated[int, Meta(ge=1)] = 1
    timeout: Annotated[float, Meta(gt=0)] = 60.0

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        from acme_zenml_dask._map import map_units

        return map_units(self, units, context)

    def check(self) -> list[Check]:
        from acme_zenml_dask._check import checks

        return checks(self)
