"""The backend, as it is written into a pipeline: parameters, and nothing that is imported late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from zenml.core import Check, MapContext, ProcessingBackend, Unit
from zenml.core.errors import Problem

__all__ = ["ProcessingBeamBackend"]

#: What a runner does not work without; Beam would download it, or not know where to go.
_NEEDS: Final = {
    "PrismRunner": ("prism_location", "the path of Prism's program, which Beam would download"),
    "PortableRunner": ("job_endpoint", "the address of a job service, such as 'localhost:8099'"),
}


class ProcessingBeamBackend(ProcessingBackend):
    """Maps a step's units of work as an Apache Beam pipeline, on any of Beam's runners.

    A process of its own builds the pipeline and runs it, or has it run; it ends with the map. Some
    runners give up at the first worker that dies, so a pipeline that fails is followed by another
    one, with the units that are left. A unit's own exception ends the map at once.

    Args:
        runner: ``FnApiRunner`` and ``BundleBasedDirectRunner`` work in the pipeline's own process,
            and need nothing else. ``PrismRunner`` starts Beam's Prism on this machine, of which
            ``options`` tell the ``prism_location``. ``PortableRunner`` gives the pipeline to the
            job service at ``job_endpoint``, of Flink or Spark for instance; where that starts its
            workers elsewhere, they need zenml-beam and what the units import, reach the artifact
            store, and get the code of the repository from there.
        options: Beam's pipeline options, by their names without dashes.
        units_per_task: How many units are one element of the pipeline. By default so many that
            there are no more than a thousand elements.
        retries: How often a pipeline that failed, and had got no further than the one before, is
            followed by another one.
    """

    runner: Literal["BundleBasedDirectRunner", "FnApiRunner", "PortableRunner", "PrismRunner"] = (
        "FnApiRunner"
    )
    options: dict[str, bool | int | float | str | list[str]] = {}  # noqa: RUF012
    units_per_task: Annotated[int, Meta(ge=1)] | None = None
    retries: Annotated[int, Meta(ge=0)] = 2

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """What Beam would notice late, or make up for by a download."""
        yield from super().validate()
        for name in self.options:
            if name == "runner" or not name.isidentifier():
                remedy = (
                    "say it as runner=" if name == "runner" else "write its name as Python does"
                )
                yield Problem(f"options.{name}", "is no option of a pipeline here", remedy)
        name, what = _NEEDS.get(self.runner, ("", ""))
        if name and not self.options.get(name):
            from zenml.beam._check import prism_command

            how = f"'{prism_command()}' builds it" if name == "prism_location" else None
            yield Problem(f"options.{name}", f"expected {what}, for {self.runner}", how)

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        """See ``ProcessingBackend.map``."""
        from zenml.beam._map import map_units

        return map_units(self, units, context)

    def check(self) -> list[Check]:
        """See ``Backend.check``."""
        from zenml.beam._check import checks

        return checks(self)
