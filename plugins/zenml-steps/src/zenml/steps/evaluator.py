"""Evaluators: how good a model is, overall and for slices of the data."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from zenml.core import Step, StepContext
from zenml.core.errors import Problem
from zenml.steps._splits import check_split_mapping

if TYPE_CHECKING:
    from zenml.steps.dataset import Dataset
    from zenml.steps.model import Model

__all__ = ["Evaluator"]

_METRICS: Final = ("accuracy", "auc", "f1", "mae", "precision", "r2", "recall", "rmse")


class Evaluator(Step):
    """Measures a model on rows that it was not trained on.

    The model is given raw rows and prepares them itself, exactly as when it serves. Rows whose
    label is missing are left out, and counted.

    Metrics for classes: ``accuracy``; and for two of them ``auc`` (area under the ROC curve: exact,
    equal scores count half), ``precision``, ``recall`` and ``f1`` of the second class. Metrics for
    numbers, in the label's own unit: ``rmse``, ``mae``, ``r2``. A metric that has no value, such as
    ``auc`` where all rows are of one class, is None.

    Parameters:
        slices: Columns by whose values the rows are divided: ``["carrier", ["carrier", "origin"]]``
            gives one slice for each carrier, and one for each pair.
        metrics: Names of metrics; by default ``accuracy`` and ``auc``, or ``rmse`` and ``mae``.
        split: The split to look at; by default those for testing, or else for evaluation.
        split_mapping: Which splits are for what: ``{"test_splits": ["test"]}``.
    """

    outputs = ("evaluation",)

    slices: tuple[str | tuple[str, ...], ...] = ()
    metrics: tuple[str, ...] | None = None
    split: str | None = None
    split_mapping: dict[str, list[str]] | None = None

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from check_split_mapping(self.split_mapping)
        for place, metric in enumerate(self.metrics or []):
            if metric not in _METRICS:
                close = get_close_matches(metric, _METRICS, n=1)
                remedy = f"did you mean '{close[0]}'?" if close else f"use {', '.join(_METRICS)}"
                yield Problem(f"metrics[{place}]", f"no such metric: '{metric}'", remedy)
        for place, slice_ in enumerate(self.slices):
            if not slice_:
                yield Problem(f"slices[{place}]", "names no column")

    def run(self, model: Model, examples: Dataset, context: StepContext) -> dict[str, Any]:
        """Evaluate ``model`` on ``examples``, of which it takes the raw columns.

        Returns:
            ``{"task", "label", "splits", "classes", "overall": {"count", "unlabelled", metric: …},
            "slices": [{"by": {column: value}, "count", metric: …}, …]}``, slices in the order of
            their columns and values.

        Raises:
            DataError: a column or split does not exist, or no row has a label.
        """
        from zenml.steps._evaluation import evaluate

        return evaluate(self, model, examples, context)
