"""What is measured of a column: mergeable, exact, and independent of order, threads and shards.

A *partial* is plain data measured on one shard. Partials of one column are merged in the order of
the shards, although no order would change the result.

Quantiles come from a histogram whose bins do not depend on the data: a number falls into the bin
of its sign and its first nine significant binary digits, cut off towards zero. (This is the layout
of G. Tene's HdrHistogram, with 256 bins for each power of two.) A quantile taken from it is the
lower edge of the bin that holds the true one: too small in magnitude by less than 1/256 = 0.4 %,
and exact for integers up to 512.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.steps._exact import (
    Dyadic,
    mean,
    standard_deviation,
    sum_of,
    sum_of_squares,
    weighed_sums,
)

__all__ = [
    "Moments",
    "Numbers",
    "Sketch",
    "numbers_of",
    "quantiles",
]

_DIGITS: Final = 8
_SHIFT: Final = 52 - _DIGITS


class Numbers(NamedTuple):
    """The numbers of a column, apart from everything in it that is none.

    Attributes:
        finite: Finite values, as 64-bit floats or integers. Booleans count as 0 and 1.
        nulls: How many values are missing.
        nans: How many are not a number.
        infinite: How many are infinite.
    """

    finite: npt.NDArray[Any]
    nulls: int
    nans: int
    infinite: int

    @property
    def missing(self) -> int:
        """Values that a filling replaces: what is not there, and what is not a number."""
        return self.nulls + self.nans


def numbers_of(series: pl.Series) -> Numbers:
    """Take the numbers out of a boolean, integer or float column."""
    nulls = series.null_count()
    present = series.drop_nulls() if nulls else series
    if series.dtype == pl.Boolean:
        return Numbers(present.cast(pl.Int64).to_numpy(), nulls, 0, 0)
    values = present.to_numpy()
    if values.dtype.kind != "f":
        return Numbers(values.astype(np.int64, copy=False), nulls, 0, 0)
    finite = np.isfinite(values)
    if finite.all():
        return Numbers(values, nulls, 0, 0)
    nans = int(np.isnan(values).sum())
    return Numbers(values[finite], nulls, nans, len(values) - int(finite.sum()) - nans)


class Moments(NamedTuple):
    """How many numbers there are, their extremes, and exact sums of them and of their squares."""

    number: int = 0
    total: Dyadic = Dyadic()
    squares: Dyadic = Dyadic()
    minimum: float | int | None = None
    maximum: float | int | None = None

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> Moments:
        """Measure finite numbers."""
        if not len(values):
            return cls()
        # Adding zero makes one zero of the two.
        low, high = values.min().item() + 0, values.max().item() + 0
        return cls(len(values), sum_of(values), sum_of_squares(values), low, high)

    @classmethod
    def of_counted(cls, counted: pl.DataFrame) -> Moments:
        """Measure integers or booleans, each ``value`` as often as its ``count`` says."""
        if not counted.height:
            return cls()
        values = counted["value"].cast(pl.Int64).to_numpy()
        counts = counted["count"].to_numpy()
        total, squares = weighed_sums(values, counts)
        low, high = values.min().item(), values.max().item()
        return cls(counts.sum().item(), total, squares, low, high)

    def plus(self, other: Moments) -> Moments:
        """The moments of both together."""
        if not (self.number and other.number):
            return self if self.number else other
        return Moments(
            self.number + other.number,
            self.total.plus(other.total),
            self.squares.plus(other.squares),
            min(self.minimum, other.minimum),  # type: ignore[type-var]
            max(self.maximum, other.maximum),  # type: ignore[type-var]
        )

    def plus_value(self, value: float, count: int) -> Moments:
        """The moments with ``count`` more numbers, each of them ``value``."""
        if not count:
            return self
        exact = Dyadic.of(value)
        square = Dyadic(exact.integer * exact.integer, 2 * exact.exponent)
        return self.plus(Moments(count, exact.times(count), square.times(count), value, value))

    def mean(self) -> float | None:
        """The mean, rounded once; None if there is no number."""
        return mean(self.total, self.number) if self.number else None

    def deviation(self) -> float | None:
        """The population's standard deviation; None if there is no number."""
        return standard_deviation(self.total, self.squares, self.number) if self.number else None

    def encode(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "count": self.number,
            "total": self.total.encode(),
            "squares": self.squares.encode(),
            "min": self.minimum,
            "max": self.maximum,
        }

    @classmethod
    def decode(cls, plain: dict[str, Any]) -> Moments:
        """Read back what ``encode`` gave."""
        return cls(
            plain["count"],
            Dyadic.decode(plain["total"]),
            Dyadic.decode(plain["squares"]),
            plain["min"],
            plain["max"],
        )


class Sketch:
    """Counts of numbers in fixed bins, from which quantiles and histograms are taken."""

    def __init__(self) -> None:
        self.bins: dict[int, int] = {}

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> Sketch:
        """Count finite numbers."""
        sketch = cls()
        floats = _cut_off(values)
        positive, negative = floats[floats > 0.0], floats[floats < 0.0]
        zeros = len(floats) - len(positive) - len(negative)
        for part, sign in ((positive, 1), (np.negative(negative), -1)):
            keys = np.ascontiguousarray(part).view(np.int64) >> _SHIFT
            if not len(keys):
                continue
            first = int(keys.min())
            counts = np.bincount(keys - first)
            filled = np.flatnonzero(counts)
            bins = ((filled + first) * sign).tolist()
            sketch.add(bins, counts[filled].tolist())
        if zeros:
            sketch.add([0], [zeros])
        return sketch

    def add_counts(self, values: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> None:
        """Add numbers, each as often as it was counted."""
        keys = np.abs(_cut_off(values)).view(np.int64) >> _SHIFT
        self.add(np.where(values < 0, -keys, keys).tolist(), counts.tolist())

    def add(self, bins: Iterable[int], counts: Iterable[int]) -> None:
        """Add the encoded bins of another shard, or those of one sign."""
        for key, count in zip(bins, counts, strict=True):
            self.bins[key] = self.bins.get(key, 0) + count

    def add_value(self, value: float, count: int) -> None:
        """Add a number ``count`` times."""
        if count:
            self.add_counts(np.array([value]), np.array([count]))

    def encode(self) -> list[list[int]]:
        """As plain data, by bin (hence by value): the bins, and their counts."""
        bins = sorted(self.bins)
        return [bins, [self.bins[key] for key in bins]]

    def pairs(self) -> list[tuple[float, int]]:
        """``(lower edge of the bin, count)``, ascending."""
        return [(_edge(key), self.bins[key]) for key in sorted(self.bins)]


def _cut_off(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """As floats; integers without digits that could round them up into the next bin."""
    if values.dtype.kind == "i":
        large = np.abs(values) >= 1 << 53
        if large.any():
            values = values - np.where(large, np.fmod(values, 1 << 11), 0)
    return values.astype(np.float64, copy=False)


def quantiles(pairs: Sequence[Sequence[Any]], levels: Sequence[float | Fraction]) -> list[Any]:
    """The smallest value that each share of all is not above.

    Args:
        pairs: ``(value, count)``, ascending; at least one.
        levels: From 0 to 1, ascending.
    """
    total = sum(pair[1] for pair in pairs)
    found = []
    seen, position = 0, 0
    for level in levels:
        rank = min(max(math.ceil(level * total), 1), total)
        while seen + pairs[position][1] < rank:
            seen += pairs[position][1]
            position += 1
        found.append(pairs[position][0])
    return found


def _edge(key: int) -> float:
    """The edge of a bin that is nearest to zero."""
    edge = float(np.array([abs(key) << _SHIFT], dtype=np.int64).view(np.float64)[0])
    return -edge if key < 0 else edge
