"""Columns computed from other columns of the same row: the step that most projects write first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zenml.core import Step, StepContext

if TYPE_CHECKING:
    import polars as pl

    from zenml.steps.dataset import Dataset

__all__ = ["DerivedColumns"]


class DerivedColumns(Step):
    """Base class: adds columns to a dataset, computed from each row alone.

    ::

        class LateArrival(DerivedColumns):
            minutes: int = 15

            def reads(self):
                return ["arr_delay"]

            def derive(self, frame):
                return frame.select(late=pl.col("arr_delay") > self.minutes)

    ``derive`` is called once for each shard, anywhere and in any order: it must not look from one
    row to another. The columns that are there stay as they are; none is copied.
    """

    outputs = ("examples",)

    @abstractmethod
    def derive(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Compute the new columns.

        Args:
            frame: The columns that ``reads`` names, for some consecutive rows.

        Returns:
            As many rows, in the same order, with new columns of type boolean, integer, float or
            string. A column of a name that is there replaces it.
        """

    def reads(self) -> Sequence[str] | None:
        """Columns that ``derive`` looks at; None for all of them."""
        return None

    def run(self, examples: Dataset, context: StepContext) -> Dataset:
        """Add the columns. Raises ``DataError`` if ``derive`` does not keep to its word."""
        from zenml.steps._deriving import derive_columns

        return derive_columns(self, examples, context)
