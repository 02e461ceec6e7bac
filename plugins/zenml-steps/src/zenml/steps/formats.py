"""How datasets, frames, arrays and models are stored: Parquet, npy and skops, never pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zenml.core.contracts import Artifact, ArtifactFormat, Blob, Files
from zenml.core.errors import DataError, IntegrityError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl

    from zenml.steps._sklearn import SKLearnModel
    from zenml.steps.dataset import Dataset

__all__ = [
    "DatasetFormat",
    "NumpyArrayFormat",
    "PandasFrameFormat",
    "PolarsFrameFormat",
    "SKLearnModelFormat",
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
    """A pandas frame, as Parquet; its index comes back as it was if it has names or is the default.

    Columns must have text names. Types come back as Polars writes them: an integer column with
    missing values, for one, as floats.
    """

    name = "pandas-frame/1"

    def save(self, value: pd.DataFrame, files: Files) -> Artifact:
        """See ``ArtifactFormat.save``. Raises ``DataError`` for what Parquet cannot hold."""
        import pandas as pd
        import polars as pl

        from zenml.steps._tables import write_parquet

        default = isinstance(value.index, pd.RangeIndex) and value.index.equals(
            pd.RangeIndex(len(value))
        )
        index: list[str] = []
        if not default or value.index.name is not None:
            index = [
                str(name) if name is not None else f"index_{level}"
                for level, name in enumerate(value.index.names)
            ]
            names = list(value.index.names)
            value = value.rename_axis(index).reset_index()
        else:
            names = []
        wrong = [name for name in value.columns if not isinstance(name, str)]
        if wrong:
            raise DataError(
                f"the frame has columns whose names are not text: {wrong[:5]}",
                remedy="rename them: frame.columns = frame.columns.map(str)",
            )
        try:
            frame = pl.from_pandas(value)
        except (TypeError, ValueError, ImportError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f"the frame cannot be stored as columns of one type each: {error}",
                remedy="convert columns of mixed values: frame[name] = frame[name].astype(str)",
            ) from error
        return Artifact(
            format=self.name,
            value={"index": index, "names": names},
            files={"frame.parquet": write_parquet(frame, files)},
        )

    def load(self, artifact: Artifact, files: Files) -> pd.DataFrame:
        """See ``ArtifactFormat.load``."""
        from zenml.steps._tables import read_parquet

        frame = read_parquet(artifact.files["frame.parquet"], files).to_pandas()
        index = artifact.value["index"]
        if index:
            frame = frame.set_index(index)
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
