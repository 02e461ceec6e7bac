"""Models: trained estimators that carry their preprocessing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

__all__ = ["Model"]


class Model(ABC):
    """What a trainer returns: takes raw rows, and gives predictions in the label's own values.

    The transform that was learnt from the training data is part of the model, so nobody who serves
    it can prepare rows differently. Frameworks derive from this class, and bring a format.

    Args:
        transform: The artifact ``transform``, with exactly one label.
        task: What the label is: classes, or a number.
        class_values: The label's transformed values, ascending, one for each class; empty for a
            regression.
    """

    #: The format that stores models of this class, as ``module:Class``.
    artifact_format: ClassVar[str]

    def __init__(
        self,
        transform: Mapping[str, Any],
        task: Literal["classification", "regression"],
        class_values: Sequence[float] = (),
    ) -> None:
        self.transform = transform
        self.task = task
        self.class_values = tuple(class_values)

    @property
    def imports(self) -> tuple[str, ...]:
        """Modules that a worker has to have which reads the model back and predicts with it."""
        return ()

    @property
    def features(self) -> list[str]:
        """Raw columns that ``predict`` needs, in order."""
        columns = self.transform["columns"]
        return [column["column"] for column in columns if column["role"] == "feature"]

    @cached_property
    def label_column(self) -> Mapping[str, Any]:
        """The label's column of the transform."""
        found: Mapping[str, Any] = next(
            column for column in self.transform["columns"] if column["role"] == "label"
        )
        return found

    @property
    def label(self) -> str:
        """The raw column that is predicted."""
        return str(self.label_column["column"])

    @cached_property
    def classes(self) -> list[Any]:
        """The label's values, in the order of the columns of ``predict_proba``."""
        import numpy as np

        from zenml.steps._applying import invert

        return invert(self.label_column, np.array(self.class_values), exact=True)

    @abstractmethod
    def scores(self, features: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What the estimator says of transformed features (rows by columns, float32).

        Returns:
            Classification: rows by classes, the higher the likelier. Regression: the transformed
            label, one for each row.
        """

    def predict(self, rows: Sequence[Mapping[str, Any]] | pl.DataFrame) -> list[Any]:
        """The predicted label of each raw row, as the label's own values.

        Args:
            rows: Dictionaries, or a frame (Polars or pandas), with the values as they were in the
                training data. None is a missing value; further columns are ignored.

        Raises:
            DataError: a feature is missing, or its values are not of the type that was trained on.
        """
        return self.values_of(self._scores(rows))

    def values_of(self, scores: np.ndarray[Any, Any]) -> list[Any]:
        """The label's own values that are predicted by what ``scores`` gives."""
        if self.task == "classification":
            return [self.classes[place] for place in scores.argmax(axis=1).tolist()]
        from zenml.steps._applying import invert

        return invert(self.label_column, scores, exact=False)

    def predict_proba(
        self, rows: Sequence[Mapping[str, Any]] | pl.DataFrame
    ) -> np.ndarray[Any, Any]:
        """Scores of each raw row (rows) for each of ``classes`` (columns); see ``predict``."""
        if self.task != "classification":
            raise TypeError("a regression has no classes; use predict()")
        return self._scores(rows)

    @cached_property
    def _prepared(self) -> Mapping[str, Any]:
        """The transform, made ready once for all predictions."""
        from zenml.steps._applying import prepared

        return {**self.transform, "columns": prepared(self.transform["columns"])}

    def _scores(self, rows: Sequence[Mapping[str, Any]] | pl.DataFrame) -> np.ndarray[Any, Any]:
        from zenml.steps._applying import apply_transform, frame_of_rows, matrix

        frame = frame_of_rows(self.transform, rows).drop(self.label, strict=False)
        applied = apply_transform(self._prepared, frame)
        return self.scores(matrix(self.transform, applied))
