"""Inferrers: what a model says of many rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zenml.core import Step, StepContext
from zenml.core.errors import Problem

if TYPE_CHECKING:
    from zenml.steps.dataset import Dataset
    from zenml.steps.model import Model

__all__ = ["Inferrer"]


class Inferrer(Step):
    """Has a model predict every row of a dataset, one shard for each unit of work.

    The model is given raw rows and prepares them itself, exactly as ``model.predict`` does when it
    serves. Whether the dataset has the label does not matter.

    The predictions of label ``y`` are column ``y_prediction``. Classes have the label's own type;
    a regressor predicts floats.

    Parameters:
        columns: Columns to keep. By default the result is the dataset that was given, with further
            columns, and nothing is copied; with names, it is these columns and the predictions, in
            one file for each shard.
        scores: Whether to add what ``model.predict_proba`` gives: for each class a float column
            ``y_score_<class>``.
    """

    outputs = ("predictions",)

    columns: tuple[str, ...] | None = None
    scores: bool = False

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        names = self.columns or ()
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Problem("columns", f"names '{name}' more than once")

    def run(self, model: Model, examples: Dataset, context: StepContext) -> Dataset:
        """Predict ``examples``, of which ``model`` takes the raw columns.

        Returns:
            A dataset with the same shards and rows.

        Raises:
            ConfigurationError: the model needs columns that are not there, or of another type.
            DataError: there is no model, a column to keep does not exist, or one is called like a
                column of the predictions.
        """
        from zenml.steps._inferring import infer

        return infer(self, model, examples, context)
