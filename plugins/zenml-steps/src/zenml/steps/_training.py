"""Training data as trainers want it: whole matrices of features, and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.core import Files
from zenml.core.errors import DataError
from zenml.steps._applying import matrix
from zenml.steps._splits import splits_for
from zenml.steps.dataset import Dataset, read_rows

__all__ = ["TrainingData"]


class TrainingData:
    """A transformed dataset by what its splits are for.

    Attributes:
        examples: The dataset.
        transform: What its columns ``<feature>_xf`` and ``<label>_xl`` were made by.
    """

    def __init__(
        self,
        examples: Dataset,
        transform: Mapping[str, Any],
        split_mapping: Mapping[str, Sequence[str]] | None,
        files: Files,
    ) -> None:
        self.examples = examples
        self.transform = transform
        self._split_mapping = split_mapping
        self._files = files

    def column_of_label(self) -> Mapping[str, Any]:
        """The one label's column of the transform. Raises ``DataError`` if there is not one."""
        labels = [column for column in self.transform["columns"] if column["role"] == "label"]
        if len(labels) != 1:
            named = ", ".join(f"'{column['column']}'" for column in labels)
            raise DataError(
                f"this trainer predicts one label, and the preprocesser names {named or 'none'}",
                remedy="say what is to be predicted: StandardPreprocesser(labels=['…'])",
            )
        if labels[0]["output_type"] != "float32":
            raise DataError(
                f"the label '{labels[0]['column']}' is encoded as a vector",
                remedy="give it a transform that makes one number of it",
            )
        label: Mapping[str, Any] = labels[0]
        return label

    def frames(self, role: str) -> Iterator[pl.DataFrame]:
        """The transformed rows for a role (``train``, ``eval`` or ``test``), shard by shard."""
        splits = splits_for(role, self.examples, self._split_mapping)
        names = [column["output"] for column in self.transform["columns"]]
        for shard in self.examples.shards:
            yield read_rows(self.examples.unit(shard, columns=names, splits=splits), self._files)

    def arrays(self, role: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Features (rows by columns) and the label of the rows that have one, both transformed.

        Raises ``DataError`` if there are none.
        """
        label = self.column_of_label()["output"]
        features, labels = [], []
        for frame in self.frames(role):
            labelled = frame.filter(frame[label].is_not_null())
            if labelled.height:
                features.append(matrix(self.transform, labelled))
                labels.append(labelled[label].to_numpy())
        if not features:
            raise DataError(
                f"no row for '{role}' has a label",
                where=f"label '{self.column_of_label()['column']}'",
                remedy="give that split more rows, or fill the label by overwrite",
            )
        return np.concatenate(features), np.concatenate(labels)
