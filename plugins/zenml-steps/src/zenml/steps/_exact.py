"""Sums of floating-point numbers without rounding, hence independent of order and threads.

A float is an integer times a power of two, so a sum of floats is one too. It is held as exactly
that, partial sums are added as integers, and the end result is rounded once.

Inside a block of values the work is done in floating point by error-free extraction: adding and
taking away a large power of two cuts each value at one common bit, the upper parts add up without
error, and what was cut off goes through the same again until nothing is left (S. M. Rump,
T. Ogita and S. Oishi, *Accurate floating-point summation part I: faithful rounding*, SIAM J. Sci.
Comput. 31(1), 2008, algorithm 3.2 "ExtractVector"). That costs a few nanoseconds for each value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Dyadic", "mean", "standard_deviation", "sum_of", "sum_of_squares", "weighed_sums"]

_Floats = npt.NDArray[np.float64]

#: Values per block: small enough for the processor's cache, and at most 2**_HEADROOM - 2.
_BLOCK = (1 << 14) - 2
_HEADROOM = 14
#: Outside of these magnitudes intermediate results could overflow or lose bits by underflow.
_LARGEST_SUMMAND = 2.0**1000
_LARGEST_FACTOR = 2.0**500
_SMALLEST_FACTOR = 2.0**-450
#: Veltkamp's constant: splits 53 bits into two halves whose products are exact.
_SPLITTER = float((1 << 27) + 1)


class Dyadic(NamedTuple):
    """The exact number ``integer * 2**exponent``."""

    integer: int = 0
    exponent: int = 0

    @classmethod
    def of(cls, value: float) -> Dyadic:
        """A finite float or an integer, exactly."""
        if isinstance(value, int):
            return cls(int(value))
        fraction, exponent = math.frexp(value)
        return cls(int(fraction * 2.0**53), exponent - 53)

    def plus(self, other: Dyadic) -> Dyadic:
        """The exact sum."""
        if not self.integer:
            return other
        if not other.integer:
            return self
        low = min(self.exponent, other.exponent)
        integer = (self.integer << (self.exponent - low)) + (
            other.integer << (other.exponent - low)
        )
        return Dyadic(integer, low)

    def times(self, factor: int) -> Dyadic:
        """The exact product with an integer."""
        return Dyadic(self.integer * factor, self.exponent)

    def fraction(self) -> Fraction:
        """The same number as a fraction."""
        if self.exponent >= 0:
            return Fraction(self.integer << self.exponent)
        return Fraction(self.integer, 1 << -self.exponent)

    def encode(self) -> list[str | int]:
        """One spelling for one number, as plain data: ``[hexadecimal, exponent]``."""
        if not self.integer:
            return ["0", 0]
        zeros = (self.integer & -self.integer).bit_length() - 1
        return [format(self.integer >> zeros, "x"), self.exponent + zeros]

    @classmethod
    def decode(cls, encoded: Sequence[str | int]) -> Dyadic:
        """Read back what ``encode`` gave."""
        return cls(int(str(encoded[0]), 16), int(encoded[1]))


def sum_of(values: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> Dyadic:
    """The exact sum of finite floats or of 64-bit integers."""
    if values.dtype.kind == "i":
        return Dyadic(_integer_sum(values.astype(np.int64, copy=False)))
    total = Dyadic()
    floats = values.astype(np.float64, copy=False)
    for start in range(0, len(floats), _BLOCK):
        total = total.plus(_block_sum(floats[start : start + _BLOCK].copy()))
    return total


def sum_of_squares(values: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> Dyadic:
    """The exact sum of the squares of finite floats or of 64-bit integers."""
    if values.dtype.kind == "i":
        return Dyadic(_integer_squares(values.astype(np.int64, copy=False)))
    total = Dyadic()
    floats = values.astype(np.float64, copy=False)
    for start in range(0, len(floats), _BLOCK):
        total = total.plus(_block_squares(floats[start : start + _BLOCK].copy()))
    return total


def weighed_sums(
    values: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> tuple[Dyadic, Dyadic]:
    """The exact sums of 64-bit integers and of their squares, each of them ``counts`` times."""
    largest = _largest_integer(values)
    if largest * largest * int(counts.sum()) < 1 << 63:
        weighed = values * counts
        return Dyadic(int(weighed.sum())), Dyadic(int(np.dot(weighed, values)))
    pairs = list(zip(values.tolist(), counts.tolist(), strict=True))
    total = sum(value * count for value, count in pairs)
    return Dyadic(total), Dyadic(sum(value * value * count for value, count in pairs))


def mean(total: Dyadic, count: int) -> float:
    """``total / count``, rounded once."""
    return float(total.fraction() / count)


def standard_deviation(total: Dyadic, squares: Dyadic, count: int) -> float | None:
    """The population's standard deviation from exact sums: two roundings in all.

    None if it is beyond the largest float.
    """
    exact = total.fraction()
    variance = (squares.fraction() - exact * exact / count) / count
    if variance == 0:
        return 0.0
    # Scaled by a power of four, so that neither the variance nor its root leaves the floats.
    scale = (variance.numerator.bit_length() - variance.denominator.bit_length()) // 2
    scaled = variance / Fraction(4) ** scale
    try:
        return math.ldexp(math.sqrt(float(scaled)), scale)
    except OverflowError:
        return None


def _block_sum(values: _Floats) -> Dyadic:
    """The exact sum of a block; ``values`` is overwritten."""
    total = Dyadic()
    upper = np.empty_like(values)
    largest = _largest(values)
    if largest > _LARGEST_SUMMAND:
        return _slow_sum(values)
    while largest:
        sigma = math.ldexp(1.0, math.frexp(largest)[1] + _HEADROOM)
        np.add(values, sigma, out=upper)
        np.subtract(upper, sigma, out=upper)
        # Multiples of one unit, and few enough of them: no order of additions rounds anything.
        total = total.plus(Dyadic.of(float(upper.sum())))
        np.subtract(values, upper, out=values)
        largest = _largest(values)
    return total


def _block_squares(values: _Floats) -> Dyadic:
    """The exact sum of a block's squares; ``values`` is overwritten."""
    magnitudes = np.abs(values)
    largest = float(magnitudes.max(initial=0.0))
    total = Dyadic()
    odd = (magnitudes < _SMALLEST_FACTOR) & (magnitudes > 0.0)
    if largest > _LARGEST_FACTOR:
        odd |= magnitudes > _LARGEST_FACTOR
    if odd.any():
        for value in values[odd].tolist():
            exact = Dyadic.of(value)
            total = total.plus(Dyadic(exact.integer * exact.integer, 2 * exact.exponent))
        values[odd] = 0.0
    # T. J. Dekker's product (Numer. Math. 18, 1971): square == product + error, exactly.
    high = values * _SPLITTER
    high -= high - values
    low = values - high
    product = values * values
    error = high * high
    error -= product
    high *= low
    high *= 2.0
    error += high
    low *= low
    error += low
    return total.plus(_block_sum(product)).plus(_block_sum(error))


def _slow_sum(values: _Floats) -> Dyadic:
    total = Dyadic()
    for value in values.tolist():
        total = total.plus(Dyadic.of(value))
    return total


def _largest(values: _Floats) -> float:
    if not len(values):
        return 0.0
    return float(max(values.max(), -values.min()))


def _integer_sum(values: npt.NDArray[np.int64]) -> int:
    """Exact for fewer than 2**31 values: upper and lower halves cannot overflow 64 bits."""
    if _largest_integer(values) * len(values) < 1 << 63:
        return int(values.sum())
    upper = int((values >> 32).sum(dtype=np.int64))
    lower = int((values & 0xFFFFFFFF).sum(dtype=np.int64))
    return (upper << 32) + lower


def _largest_integer(values: npt.NDArray[np.int64]) -> int:
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


def _natural_sum(values: npt.NDArray[np.uint64]) -> int:
    upper = int((values >> np.uint64(32)).sum(dtype=np.uint64))
    lower = int((values & np.uint64(0xFFFFFFFF)).sum(dtype=np.uint64))
    return (upper << 32) + lower


def _integer_squares(values: npt.NDArray[np.int64]) -> int:
    largest = _largest_integer(values)
    if largest * largest * len(values) < 1 << 63:
        return int(np.dot(values, values))
    if largest < 1 << 31:
        return _integer_sum(values * values)
    # The magnitude of the smallest integer is 2**63, which the unsigned type holds.
    magnitudes = np.where(values < 0, -values, values).view(np.uint64)
    upper = magnitudes >> np.uint64(32)
    lower = magnitudes & np.uint64(0xFFFFFFFF)
    return (
        (_natural_sum(upper * upper) << 64)
        + (_natural_sum(upper * lower) << 33)
        + _natural_sum(lower * lower)
    )
