"""Training data as trainers want it: features and labels, whole or shard by shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.core import Files
from zenml.core.errors import DataError
from zenml.steps._applying import matrix
from zenml.steps._splits import splits_for
from zenml.steps._splitting import random_order
from zenml.steps.dataset import Dataset, Shard, read_rows

__all__ = ["MOST_CLASSES", "TrainingData"]

#: A label with more different values is no label of classes.
MOST_CLASSES: Final = 10_000


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

    def has(self, role: str) -> bool:
        """Whether there are splits for a role."""
        return bool((self._split_mapping or {}).get(f"{role}_splits")) or role in (
            self.examples.splits
        )

    def frames(self, role: str) -> Iterator[pl.DataFrame]:
        """The transformed rows for a role (``train``, ``eval`` or ``test``), shard by shard."""
        names = [column["output"] for column in self.transform["columns"]]
        yield from self._read(role, names, self.examples.shards)

    def _read(
        self, role: str, columns: Sequence[str], shards: Sequence[Shard]
    ) -> Iterator[pl.DataFrame]:
        splits = splits_for(role, self.examples, self._split_mapping)
        for shard in shards:
            yield read_rows(self.examples.unit(shard, columns=columns, splits=splits), self._files)

    def shards(
        self, role: str, *, seed: int | None = None, epoch: int = 0, skip: int = 0
    ) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Features (rows by columns) and the label of each shard's rows that have one.

        Args:
            role: ``train``, ``eval`` or ``test``.
            seed: Shuffles the shards, and the rows of each; None leaves the order of the data.
            epoch: Which time it is: another order for each, the same whenever it is asked for.
            skip: How many shards to leave out, of this order: those that were done before.

        Every shard comes, also one without such rows.
        """
        label = self.column_of_label()["output"]
        names = [column["output"] for column in self.transform["columns"]]
        places = list(range(len(self.examples.shards)))
        if seed is not None:
            places = random_order(f"shards {seed} {epoch}", len(places)).tolist()
        for place in places[skip:]:
            [frame] = self._read(role, names, [self.examples.shards[place]])
            labelled = frame.filter(frame[label].is_not_null())
            features = matrix(self.transform, labelled)
            labels = labelled[label].to_numpy()
            if seed is not None:
                order = random_order(f"rows {seed} {epoch} {place}", len(labels))
                features, labels = features[order], labels[order]
            yield features, labels

    def labels(self, role: str) -> Iterator[npt.NDArray[np.float32]]:
        """The label alone, of each shard's rows that have one, in order."""
        label = self.column_of_label()["output"]
        for frame in self._read(role, [label], self.examples.shards):
            yield frame[label].drop_nulls().to_numpy()

    def arrays(self, role: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Features (rows by columns) and the label of the rows that have one, both transformed.

        All of them at once: what is larger than memory is read by ``shards``. Raises ``DataError``
        if there are none.
        """
        found = [shard for shard in self.shards(role) if len(shard[1])]
        if not found:
            raise self.nothing_labelled(role)
        features, labels = zip(*found, strict=True)
        return np.concatenate(features), np.concatenate(labels)

    def nothing_labelled(self, role: str) -> DataError:
        """What to raise if no row for a role has a label."""
        return DataError(
            f"no row for '{role}' has a label",
            where=f"label '{self.column_of_label()['column']}'",
            remedy="give that split more rows, or fill the label by overwrite",
        )
