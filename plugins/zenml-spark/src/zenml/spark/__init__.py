"""A backend that spreads a step's work over the tasks of a Spark job."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.spark.processing import ProcessingSparkBackend

    __all__ = ["ProcessingSparkBackend"]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__, {"ProcessingSparkBackend": "zenml.spark.processing"}
    )
