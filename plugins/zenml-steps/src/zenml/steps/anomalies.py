"""Anomalies: how other data differs from the data that a model was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from zenml.core import Step
from zenml.core.errors import Problem

__all__ = ["Anomalies"]


class Anomalies(Step):
    """Compares the statistics of every split with those of the training split.

    An anomaly is data, and no error: what it means is for people to say. Each is
    ``{"column", "kind", "message", …}`` with what was found and what was expected.

    ==================  ========================================================================
    kind                when
    ==================  ========================================================================
    ``no_rows``         there is nothing to be compared; nothing else is reported then
    ``missing_column``  a column is not there any more
    ``new_column``      a column was not there before
    ``type``            a column is of another type; nothing else is reported of it
    ``missing_values``  values are missing where none was, or the share of rows that have one is
                        lower by more than ``presence_loss``
    ``not_finite``      there are NaN or infinities where there were none
    ``new_values``      booleans, or strings of a column that had at most 100 different ones, are
                        new
    ``range``           numbers lie outside by more than ``range_excess`` times the width of the
                        range
    ``distribution``    the distance is above ``category_distance`` or ``number_distance``
    ==================  ========================================================================

    The distance of booleans and strings is the largest difference between the shares of one value
    (L-infinity). Where statistics list only the most frequent values, it is the least that they
    allow. The distance of numbers is the Jensen-Shannon divergence of the histograms, in bits, on
    the wider bars of the two. Both are from 0 to 1.

    Parameters:
        baseline: The split that says what is normal.
        presence_loss: A difference of shares.
        range_excess: A multiple of the width of the range.
        category_distance: The largest distance that is normal, for booleans and strings.
        number_distance: The same for integers and floats.
        min_count: Shares and distances say nothing, and are not compared, where there are fewer
            rows or values.
    """

    outputs = ("anomalies",)

    baseline: str = "train"
    presence_loss: float = 0.1
    range_excess: float = 0.5
    category_distance: float = 0.1
    number_distance: float = 0.1
    min_count: int = 100

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        for name in ("presence_loss", "category_distance", "number_distance"):
            if not 0 <= getattr(self, name) <= 1:
                yield Problem(name, f"expected 0 to 1, found {getattr(self, name)}")
        if not (math.isfinite(self.range_excess) and self.range_excess >= 0):
            yield Problem("range_excess", f"expected at least 0, found {self.range_excess}")
        if self.min_count < 1:
            yield Problem("min_count", f"expected at least 1, found {self.min_count}")

    def run(self, statistics: dict[str, Any]) -> dict[str, Any]:
        """Compare the splits with ``baseline``.

        Args:
            statistics: What ``SplitStatistics`` gives.

        Returns:
            ``{"baseline": …, "splits": {name: [anomaly, …]}}``, for all other splits.

        Raises:
            DataError: there is no such split, or nothing in it.
        """
        from zenml.steps._describing import split_of

        normal = split_of(statistics, self.baseline)
        return {
            "baseline": self.baseline,
            "splits": {
                name: self.compare(found, normal)
                for name, found in statistics["splits"].items()
                if name != self.baseline
            },
        }

    def compare(
        self, statistics: Mapping[str, Any], baseline: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Anomalies of some rows as compared with others: of two splits, or of two snapshots.

        ::

            Anomalies().compare(today.load("data.statistics"), before.load("data.statistics"))

        Args:
            statistics: Of the rows that are looked at: ``{"rows", "columns"}``.
            baseline: Of the rows that say what is normal.

        Returns:
            The anomalies, in the order of the baseline's columns, new columns last.

        Raises:
            DataError: the baseline has no rows.
        """
        from zenml.steps._comparing import compare

        return compare(self, statistics, baseline)
