"""What zenml-spark registers; it is imported whenever backends are listed, without PySpark."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import BackendSpec, hookimpl

__all__: list[str] = []


@hookimpl
def zenml_processors() -> Iterator[BackendSpec]:
    """Units of work in the tasks of a Spark job."""
    yield BackendSpec(
        type="spark",
        target="zenml.spark.processing:ProcessingSparkBackend",
        summary="Spreads a step's work over Apache Spark, on this machine or on a cluster.",
        capabilities=frozenset({"cancel", "isolation", "parallel"}),
        requires=("pyspark",),
    )
