"""How datasets, frames, arrays and models are stored: Parquet, npy and skops, never pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zenml.core import Artifact, ArtifactFormat, Blob, Files
from zenml.core.errors import DataError, IntegrityError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl

    from zenml.steps._sklearn import SKLearnModel
    from zenml.steps._tensorflow import TensorFlowModel
    from zenml.steps._torch import TorchModel
    from zenml.steps.dataset import Dataset

__all__ = [
    "DatasetFormat",
    "NumpyArrayFormat",
    "PandasFrameFormat",
    "PolarsFrameFormat",
    "SKLearnModelFormat",
    "TensorFlowModelFormat",
    "TorchModelFormat",
]


class DatasetFormat(ArtifactFormat):
    """A dataset's files are in the store already; this is the list of them.

    Files are named ``shard-00000/<part>.parquet``; the value says which rows and columns they hold.
    """

    name = "dataset/1"

    def save(self, value: Dataset, files: Files) -> Artifact:
        """See ``ArtifactFormat.save``."""
        plain = {
            "columns": [[column.name, column.type, column.part] for column in value.columns],
            "rows": [shard.rows for shard in value.shards],
            "splits": list(value.splits),
            "split_rows": [list(shard.split_rows) for shard in value.shards],
        }
        blobs = {
            f"shard-{index:05d}/{part}.parquet": blob
            for index, shard in enumerate(value.shards)
            for part, blob in sorted(shard.files.items())
        }
        return Artifact(format=self.name, value=plain, files=blobs)

    def load(self, artifact: Artifact, files: Files) -> Dataset:
        """See ``ArtifactFormat.load``. Reads no rows."""
        from zenml.steps.dataset import Column, Dataset, Shard

        plain = artifact.value
        parts: list[dict[str, Blob]] = [{} for _ in plain["rows"]]
        for name, blob in artifact.files.items():
            folder, _, file = name.partition("/")
            index = int(folder.removeprefix("shard-"))
            parts[index][file.removesuffix(".parquet")] = blob
        shards = []
        first_row = 0
        for rows, counts, blobs in zip(plain["rows"], plain["split_rows"], parts, strict=True):
            shards.append(Shard(first_row, rows, blobs, tuple(counts)))
            first_row += rows
        return Dataset(
            tuple(Column(*column) for column in plain["columns"]),
            tuple(shards),
            tuple(plain["splits"]),
        )


class PolarsFrameFormat(ArtifactFormat):
    """A Polars frame, as Parquet."""

    name = "polars-frame/1"

    def save(self, value: pl.DataFrame, files: Files) -> Artifact:
        """See ``ArtifactFormat.save``. Raises ``DataError`` for columns of Python objects."""
        from zenml.steps._tables import write_parquet

        objects = [name for name, dtype in value.schema.items() if dtype.is_object()]
        if objects:
            raise DataError(
                "the frame holds Python objects, which are not data",
                where=", ".join(f"column '{name}'" for name in objects),
                remedy="convert them to numbers, text, lists or structs first",
            )
        return Artifact(format=self.name, files={"frame.parquet": write_parquet(value, files)})

    def load(self, artifact: Artifact, files: Files) -> pl.DataFrame:
        """See ``ArtifactFormat.load``."""
        from zenml.steps._tables import read_parquet

        return read_parquet(artifact.files["frame.parquet"], files)


class PandasFrameFormat(ArtifactFormat):
    """A pandas frame, as Parquet, with its index; pyarrow is not needed.

    Columns and index levels must have text names (or none, for the index) and values of one plain
    type each. The order of categories is not kept.
    """

    name = "pandas-frame/1"

    def save(self, value: pd.DataFrame, files: Files) -> Artifact:
        """See ``ArtifactFormat.save``. Raises ``DataError`` for what Parquet cannot hold."""
        import pandas as pd

        from zenml.steps._pandas import from_pandas
        from zenml.steps._tables import write_parquet

        index, names = [], list(value.index.names)
        if names != [None] or not value.index.equals(pd.RangeIndex(len(value))):
            index = [name or f"index {level}" for level, name in enumerate(names)]
            value = value.rename_axis(index).reset_index()
        frame, types = from_pandas(value)
        return Artifact(
            format=self.name,
            value={"index": index, "names": names if index else [], "types": types},
            files={"frame.parquet": write_parquet(frame, files)},
        )

    def load(self, artifact: Artifact, files: Files) -> pd.DataFrame:
        """See ``ArtifactFormat.load``."""
        from zenml.steps._pandas import to_pandas
        from zenml.steps._tables import read_parquet

        stored = read_parquet(artifact.files["frame.parquet"], files)
        frame = to_pandas(stored, artifact.value["types"])
        if artifact.value["index"]:
            frame = frame.set_index(artifact.value["index"])
            frame.index.names = artifact.value["names"]
        return frame


class NumpyArrayFormat(ArtifactFormat):
    """A NumPy array, as npy, in C order. Arrays of Python objects are refused."""

    name = "numpy-array/1"

    def save(self, value: np.ndarray[Any, Any], files: Files) -> Artifact:
        """See ``ArtifactFormat.save``. Raises ``DataError`` for arrays of objects."""
        import io

        import numpy as np

        if value.dtype.hasobject:
            raise DataError(
                f"the array holds Python objects ({value.dtype}), which are not data",
                remedy="convert it: array.astype(float) or array.astype(str)",
            )
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(value).reshape(value.shape), allow_pickle=False)
        return Artifact(format=self.name, files={"array.npy": files.put_bytes(buffer.getvalue())})

    def load(self, artifact: Artifact, files: Files) -> np.ndarray[Any, Any]:
        """See ``ArtifactFormat.load``."""
        import numpy as np

        path = files.fetch(artifact.files["array.npy"])
        try:
            array: np.ndarray[Any, Any] = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise IntegrityError(
                f"the stored array cannot be read: {error}", where=artifact.digest
            ) from error
        return array


class SKLearnModelFormat(ArtifactFormat):
    """A model trained by scikit-learn: the estimator as a skops file, the rest as plain data."""

    name = "sklearn-model/1"

    def save(self, value: SKLearnModel, files: Files) -> Artifact:
        """See ``ArtifactFormat.save``."""
        from zenml.steps._sklearn import save_model

        return save_model(value, files, self.name)

    def load(self, artifact: Artifact, files: Files) -> SKLearnModel:
        """See ``ArtifactFormat.load``. Raises ``IntegrityError`` for types that are not trusted."""
        from zenml.steps._sklearn import load_model

        return load_model(artifact, files)


class TensorFlowModelFormat(ArtifactFormat):
    """A network trained by Keras on TensorFlow: weights as npy, the rest as plain data."""

    name = "tensorflow-model/1"

    def save(self, value: TensorFlowModel, files: Files) -> Artifact:
        """See ``ArtifactFormat.save``."""
        from zenml.steps._networks import save_network

        return save_network(value, files, self.name)

    def load(self, artifact: Artifact, files: Files) -> TensorFlowModel:
        """See ``ArtifactFormat.load``. The library need not be installed."""
        from zenml.steps._networks import load_network
        from zenml.steps._tensorflow import TensorFlowModel

        return load_network(artifact, files, TensorFlowModel)


class TorchModelFormat(ArtifactFormat):
    """A network trained by PyTorch: weights as npy, the rest as plain data."""

    name = "torch-model/1"

    def save(self, value: TorchModel, files: Files) -> Artifact:
        """See ``ArtifactFormat.save``."""
        from zenml.steps._networks import save_network

        return save_network(value, files, self.name)

    def load(self, artifact: Artifact, files: Files) -> TorchModel:
        """See ``ArtifactFormat.load``. The library need not be installed."""
        from zenml.steps._networks import load_network
        from zenml.steps._torch import TorchModel

        return load_network(artifact, files, TorchModel)
