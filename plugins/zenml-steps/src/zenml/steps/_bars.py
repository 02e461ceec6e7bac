"""Histograms that can be compared, whatever data they were made of.

The edges of the bars are multiples of a power of two, so a finer histogram becomes a coarser one by
adding whole bars up, and any two have a common grid. A bar holds its edge that is nearer to zero,
as the bins of ``_measures.Sketch`` do, and is never narrower than one: no bin is divided.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["Bars"]

#: A histogram has at most so many bars, and more than half of them unless values are few.
_MOST: Final = 32
#: Significant binary digits of a bin, and of a float.
_BIN_DIGITS: Final = 9
_DIGITS: Final = 53
#: Exponents of the smallest float, and of the width of the bins around zero.
_NARROWEST: Final = -1074
_NARROWEST_BIN: Final = -1030


class Bars(NamedTuple):
    """A histogram.

    Attributes:
        exponent: The bars are ``2**exponent`` wide.
        first: The first bar begins at ``first * 2**exponent``.
        counts: How many numbers are in each bar.
    """

    exponent: int
    first: int
    counts: list[int]

    @classmethod
    def of(cls, pairs: Iterable[Sequence[Any]], low: float, high: float, *, exact: bool) -> Bars:
        """Count numbers.

        Args:
            pairs: ``(value, count)``, or ``(lower edge of a bin, count)`` if not ``exact``.
            low: The smallest number.
            high: The largest number.
            exact: Whether bars may be narrower than bins.
        """
        largest = max(abs(low), abs(high))
        digits = _DIGITS if exact and low < high else _BIN_DIGITS
        narrowest = _NARROWEST if exact else _NARROWEST_BIN
        exponent = max(math.frexp(largest)[1] - digits, narrowest) if largest else 0
        if isinstance(low, int):
            exponent = max(exponent, 0)
        while _bar(high, exponent) - _bar(low, exponent) >= _MOST:
            exponent += 1
        first = _bar(low, exponent)
        counts = [0] * (_bar(high, exponent) - first + 1)
        for value, count in pairs:
            # A bin's edge may be zero where all that is in the bin is below.
            counts[min(_bar(value, exponent) - first, len(counts) - 1)] += count
        return cls(exponent, first, counts)

    def encode(self) -> dict[str, Any]:
        """As plain data: ``{"exponent": …, "edges": […], "counts": […]}``."""
        edges = [_edge(self.first + bar, self.exponent) for bar in range(len(self.counts) + 1)]
        return {"exponent": self.exponent, "edges": edges, "counts": self.counts}

    @classmethod
    def decode(cls, plain: Mapping[str, Any]) -> Bars:
        """Read back what ``encode`` gave."""
        exponent = plain["exponent"]
        first = round(math.ldexp(plain["edges"][0], -exponent))
        return cls(exponent, first, list(plain["counts"]))

    def coarser(self, exponent: int) -> Bars:
        """The same numbers in wider bars."""
        shift = exponent - self.exponent
        first = self.first >> shift
        counts = [0] * (((self.first + len(self.counts) - 1) >> shift) - first + 1)
        for bar, count in enumerate(self.counts, self.first):
            counts[(bar >> shift) - first] += count
        return Bars(exponent, first, counts)

    def divergence(self, other: Bars) -> float:
        """The Jensen-Shannon divergence, in bits: 0 for equal shares, 1 if no bar is common.

        Both must count something. Rounded to six digits, because logarithms are not the same in
        their last digit everywhere.
        """
        exponent = max(self.exponent, other.exponent)
        ours, theirs = self.coarser(exponent), other.coarser(exponent)
        here, there = sum(ours.counts), sum(theirs.counts)
        parts = []
        for bar in range(
            min(ours.first, theirs.first),
            max(ours.first + len(ours.counts), theirs.first + len(theirs.counts)),
        ):
            p, q = ours.share(bar, here), theirs.share(bar, there)
            parts += [share * math.log2(2 * share / (p + q)) for share in (p, q) if share]
        return round(min(max(math.fsum(parts) / 2, 0.0), 1.0), 6)

    def share(self, bar: int, total: int) -> float:
        """The share of a bar in ``total``."""
        place = bar - self.first
        return self.counts[place] / total if 0 <= place < len(self.counts) else 0.0


def _bar(value: float, exponent: int) -> int:
    """Which bar a number is in."""
    if isinstance(value, int):
        size = abs(value) >> exponent  # as a float it could be rounded up into the next bar
    else:
        size = int(math.ldexp(abs(value), -exponent))
    return -1 - size if value < 0 else size


def _edge(multiple: int, exponent: int) -> float:
    try:
        return math.ldexp(multiple, exponent)
    except OverflowError:  # the edge is the power of two above the largest float
        return math.copysign(sys.float_info.max, multiple)
