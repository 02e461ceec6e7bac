"""What this distribution offers to the core. Light: imports nothing but ``zenml.core``."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import FormatSpec, hookimpl

__all__ = ["zenml_artifact_formats"]


@hookimpl
def zenml_artifact_formats() -> Iterator[FormatSpec]:
    """Formats of the values that the standard steps pass to each other, and of common frames."""
    formats = "zenml.steps.formats"
    yield FormatSpec(
        name="dataset/1",
        target=f"{formats}:DatasetFormat",
        python_types=("zenml.steps.dataset:Dataset",),
    )
    yield FormatSpec(
        name="sklearn-model/1",
        target=f"{formats}:SKLearnModelFormat",
        python_types=("zenml.steps._sklearn:SKLearnModel",),
    )
    yield FormatSpec(
        name="tensorflow-model/1",
        target=f"{formats}:TensorFlowModelFormat",
        python_types=("zenml.steps._tensorflow:TensorFlowModel",),
    )
    yield FormatSpec(
        name="torch-model/1",
        target=f"{formats}:TorchModelFormat",
        python_types=("zenml.steps._torch:TorchModel",),
    )
    yield FormatSpec(
        name="polars-frame/1",
        target=f"{formats}:PolarsFrameFormat",
        python_types=("polars.dataframe.frame:DataFrame",),
    )
    yield FormatSpec(
        name="pandas-frame/1",
        target=f"{formats}:PandasFrameFormat",
        python_types=("pandas.core.frame:DataFrame", "pandas:DataFrame"),
    )
    yield FormatSpec(
        name="numpy-array/1",
        target=f"{formats}:NumpyArrayFormat",
        python_types=("numpy:ndarray",),
    )
