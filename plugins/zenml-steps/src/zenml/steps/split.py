"""Splits: which rows are for training, and which are not."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from zenml.core import Step, StepContext
from zenml.core.errors import Problem

if TYPE_CHECKING:
    import polars as pl

    from zenml.steps.dataset import Dataset

__all__ = ["BaseSplit", "RandomSplit"]


class BaseSplit(Step):
    """Assigns every row to a split, or to none.

    Derive your own::

        class SplitByYear(BaseSplit):
            last_training_year: int

            def get_split_names(self):
                return ["train", "test"]

            def reads(self):
                return ["year"]

            def assign(self, frame, first_row):
                late = frame["year"] > self.last_training_year
                return late.replace_strict({False: "train", True: "test"})

    No row is copied: the result shares all files with its input, and adds one small file of
    assignments for each shard.
    """

    outputs = ("examples",)

    @abstractmethod
    def get_split_names(self) -> Sequence[str]:
        """Names of all splits that ``assign`` may give."""

    def reads(self) -> Sequence[str] | None:
        """The columns that ``assign`` looks at; None (the default) for all of them."""
        return None

    @abstractmethod
    def assign(self, frame: pl.DataFrame, first_row: int) -> Any:
        """The split of each row.

        Must depend on nothing but the row's values and its global index, since how rows are
        divided into frames is no business of a split.

        Args:
            frame: Consecutive rows, with the columns that ``reads`` names.
            first_row: Global index of the first of them.

        Returns:
            For each row the name of its split, or None to leave it out: a Polars series, an array
            or a list.
        """

    def run(self, examples: Dataset, context: StepContext) -> Dataset:
        """Assign the rows of ``examples``. Raises ``DataError`` for what is not a split."""
        from zenml.steps._splitting import split_dataset

        return split_dataset(self, examples, context)


class RandomSplit(BaseSplit):
    """Assigns rows at random, by shares: ``RandomSplit(split_map={"train": 0.8, "eval": 0.2})``.

    Which split a row is in depends on the seed, the shares and the row's global index, and on
    nothing else: neither on sharding, workers and retries, nor on the order of ``split_map`` (the
    splits take their turns by name). Adding rows at the end moves no row that was there before.

    Parameters:
        split_map: Split name to its share of the rows: at least two, positive, 1 in sum.
        seed: Another seed gives another, independent assignment.
    """

    split_map: dict[str, float]
    seed: int = 0

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        shares = self.split_map
        if len(shares) < 2:
            yield Problem("split_map", f"expected at least two splits, found {len(shares)}")
        wrong = False
        for name, share in shares.items():
            if not name:
                yield Problem("split_map", "a split has no name")
            if not (math.isfinite(share) and share > 0):
                wrong = True
                yield Problem(f"split_map.{name}", f"expected a share above 0, found {share}")
        total = math.fsum(shares.values()) if not wrong else 1.0
        if shares and abs(total - 1.0) > 1e-6:
            scaled = ", ".join(f"'{name}': {share / total:.6g}" for name, share in shares.items())
            message = f"the shares are {total:.6g} in sum, not 1"
            yield Problem("split_map", message, f"did you mean {{{scaled}}}?")

    def get_split_names(self) -> list[str]:
        """The names in ``split_map``, sorted."""
        return sorted(self.split_map)

    def reads(self) -> list[str]:
        """None: values do not count."""
        return []

    def assign(self, frame: pl.DataFrame, first_row: int) -> pl.Series:
        """See ``BaseSplit.assign``."""
        from zenml.steps._splitting import assign_at_random

        return assign_at_random(self.split_map, self.seed, first_row, frame.height)
