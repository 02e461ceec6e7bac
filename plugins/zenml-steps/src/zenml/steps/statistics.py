"""Statistics and schema of the splits of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zenml.core import Step, StepContext
from zenml.core.errors import Problem

if TYPE_CHECKING:
    from zenml.steps.dataset import Dataset

__all__ = ["SplitSchema", "SplitStatistics"]


class SplitStatistics(Step):
    """Describes every column, in each split: what a datasource's ``statistics`` do for all rows.

    Add it where the splits are to be looked at: ``pipeline.add_step(SplitStatistics())`` after
    ``add_split``.

    Parameters:
        columns: Only these columns; all of them by default.
    """

    outputs = ("statistics",)

    columns: list[str] | None = None

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        names = self.columns
        if names is not None and not names:
            yield Problem("columns", "is empty", "leave it out to take all columns")
        for name in sorted({name for name in names or [] if (names or []).count(name) > 1}):
            yield Problem("columns", f"names '{name}' more than once")

    def run(self, examples: Dataset, context: StepContext) -> dict[str, Any]:
        """Describe the splits.

        Returns:
            ``{"splits": {name: {"rows", "columns": [{"name", "type", "count", "nulls", …}]}}}``.

        Raises:
            DataError: there are no splits, or not such columns.
        """
        from zenml.steps._describing import describe_splits

        return describe_splits(self, examples, context)


class SplitSchema(Step):
    """Infers from the statistics of a split what its columns are like.

    Parameters:
        split: The split that says what is normal.
    """

    outputs = ("schema",)

    split: str = "train"

    def run(self, statistics: dict[str, Any]) -> dict[str, Any]:
        """Infer the schema.

        Returns:
            ``{"columns": [{"name", "type", "nullable", "presence", …}]}``: ``presence`` is the
            share of rows that have a value; booleans, and strings of at most 100 distinct values,
            have a ``domain``; integers and floats have ``min`` and ``max``.

        Raises:
            DataError: there is no such split.
        """
        from zenml.steps._describing import infer_schema, split_of

        return infer_schema(split_of(statistics, self.split))
