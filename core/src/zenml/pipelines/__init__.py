"""What the author of a pipeline imports."""

from zenml.core.contracts import Step, StepContext, step
from zenml.pipelines._data import DataPipeline
from zenml.pipelines._datasource import Datasource
from zenml.pipelines._inference import BatchInferencePipeline
from zenml.pipelines._pipeline import Backends, Pipeline, StepReference
from zenml.pipelines._training import TrainingPipeline

__all__ = [
    "Backends",
    "BatchInferencePipeline",
    "DataPipeline",
    "Datasource",
    "Pipeline",
    "Step",
    "StepContext",
    "StepReference",
    "TrainingPipeline",
    "step",
]
