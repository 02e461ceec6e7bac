"""Google Cloud Dataflow: a step's units of work as one job."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.dataflow.processing import ProcessingDataFlowBackend

    __all__ = ["ProcessingDataFlowBackend"]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__, {"ProcessingDataFlowBackend": "zenml.dataflow.processing"}
    )
