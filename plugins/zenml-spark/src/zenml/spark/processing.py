"""Units of work in the tasks of a Spark job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

from msgspec import Meta

from zenml.core import Check, MapContext, ProcessingBackend, SecretRef, Unit
from zenml.core.errors import Problem

__all__ = ["ProcessingSparkBackend"]

_MASTER: Final = re.compile(
    r"local(\[(\d+|\*)\])?|spark://[^/\s:,]+:\d+(,[^/\s:,]+:\d+)*|yarn|k8s://\S+"
)

#: Properties that are said in another way.
_TAKEN: Final = {
    "spark.app.name": "it is the step's name",
    "spark.master": "master= says that",
    "spark.pyspark.python": "python= says that",
    "spark.submit.deployMode": "the driver is always on this machine",
    "spark.task.maxFailures": "max_failures= says that",
}


class ProcessingSparkBackend(ProcessingBackend):
    """Maps a step's units of work over the tasks of a Spark job.

    Each map is an application of its own, whose driver is a process beside this one, so it meets no
    ``SparkSession`` that is here. A task whose worker died is tried again; a unit's own exception
    ends the map at once.

    Args:
        master: ``local[N]`` for N workers on this machine, ``local[*]`` for as many as there are
            processors; ``spark://host:port`` or what else Spark knows for those of a cluster, which
            get the code of the repository through the artifact store.
        conf: Spark's own properties, ``{"spark.executor.memory": "4g"}``; no secrets.
        secret_conf: Properties whose values are secrets, by reference.
        python: The interpreter of the workers, which has zenml-spark and what the units import. On
            this machine it is by default the one that runs this, on a cluster what
            ``PYSPARK_PYTHON`` says, or ``python3``.
        units_per_task: How many units a task executes, one after the other. By default so many that
            each core has eight tasks, one after the other, if there are enough units for that.
        max_failures: How often a task is tried whose worker has died.
        pending_timeout: Seconds that a map may wait while none of its tasks runs.
    """

    master: str = "local[*]"
    conf: dict[str, str] = {}  # noqa: RUF012 - copied for each backend
    secret_conf: dict[str, SecretRef] = {}  # noqa: RUF012
    python: str | None = None
    units_per_task: Annotated[int, Meta(ge=1)] | None = None
    max_failures: Annotated[int, Meta(ge=1)] = 4
    pending_timeout: Annotated[float, Meta(gt=0)] = 600.0

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """What Spark would refuse, or take for something else."""
        yield from super().validate()
        if not _MASTER.fullmatch(self.master) or self.master == "local[0]":
            yield Problem(
                "master",
                f"Spark has no master '{self.master}'",
                "'local[2]', 'local[*]', 'spark://host:7077', 'yarn', 'k8s://…'",
            )
        for place, names in (("conf", self.conf), ("secret_conf", self.secret_conf)):
            for name in names:
                if not name.startswith("spark."):
                    yield f"{place}.{name}", "Spark's properties begin with 'spark.'"
                elif name in _TAKEN:
                    yield f"{place}.{name}", f"cannot be set here: {_TAKEN[name]}"
        for name in sorted(self.conf.keys() & self.secret_conf.keys()):
            yield f"conf.{name}", "secret_conf has it as well"

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        """See ``ProcessingBackend.map``."""
        from zenml.spark._map import map_units

        return map_units(self, units, context)

    def check(self) -> list[Check]:
        """Look for Java, for the master, and for what its workers have."""
        from zenml.spark._check import checks

        return checks(self)
