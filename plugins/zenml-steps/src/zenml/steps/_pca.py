"""Principal components: the same bits on every machine, for any sharding and any number of threads.

Sums and products are exact. A value is written in digits of 19 bits, so the products of two digits
in a block of 2**14 rows add up to less than 2**53: a matrix product gives them without rounding,
whatever order and instructions a BLAS library uses (K. Ozaki, T. Ogita, S. Oishi and S. M. Rump,
*Error-free transformations of matrix multiplication*, Numer. Algorithms 59, 2012).

The eigenvectors come from cyclic Jacobi rotations, in the order of a round-robin tournament (R. P.
Brent and F. T. Luk, SIAM J. Sci. Stat. Comput. 6(1), 1985): element by element, and with neither
BLAS nor LAPACK, whose results differ between processors. What is lost by rounding is some 2**-50 of
the total variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Products", "components", "project"]

_Floats = npt.NDArray[np.float64]

_DIGIT: Final = 19
_BLOCK: Final = 1 << 14
_SWEEPS: Final = 60


class Products:
    """Exact sums of vectors and of the products of their elements.

    Args:
        width: Elements of a vector.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.number = 0
        self.exponent = 0
        #: In units of ``2**exponent``, and of its square.
        self.sums: Any = np.zeros(width, dtype=object)
        self.products: Any = np.zeros((width, width), dtype=object)

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32]) -> Products:
        """Measure finite vectors, rows by elements."""
        found = cls(vectors.shape[1])
        for start in range(0, len(vectors), _BLOCK):
            found._add_block(vectors[start : start + _BLOCK].astype(np.float64))
        return found

    def _add_block(self, vectors: _Floats) -> None:
        self.number += len(vectors)
        digits = _digits(vectors)
        for place, digit in digits.items():
            self._shift(place * _DIGIT)
            self.sums += _whole(digit.sum(axis=0), place * _DIGIT - self.exponent)
            for other, second in digits.items():
                if other > place:
                    continue
                self._shift(other * _DIGIT)
                product = digit.T @ second
                shift = (place + other) * _DIGIT - 2 * self.exponent
                self.products += _whole(product, shift)
                if other != place:
                    self.products += _whole(product.T, shift)

    def _shift(self, exponent: int) -> None:
        """Make the unit at most ``2**exponent``."""
        if exponent < self.exponent:
            self.sums = self.sums * (1 << (self.exponent - exponent))
            self.products = self.products * (1 << 2 * (self.exponent - exponent))
            self.exponent = exponent

    def add(self, partial: Mapping[str, Any]) -> None:
        """Add the encoded sums of another shard."""
        self.number += partial["number"]
        self._shift(partial["exponent"])
        shift = partial["exponent"] - self.exponent
        self.sums += np.array([int(item, 16) << shift for item in partial["sums"]], dtype=object)
        upper = np.zeros_like(self.products)
        upper[np.triu_indices(self.width)] = [
            int(item, 16) << 2 * shift for item in partial["products"]
        ]
        self.products += upper + np.triu(upper, 1).T

    def encode(self) -> dict[str, Any]:
        """As plain data; of the products, which are symmetric, one half."""
        products = self.products[np.triu_indices(self.width)]
        return {
            "number": self.number,
            "exponent": self.exponent,
            "sums": [format(item, "x") for item in self.sums.tolist()],
            "products": [format(item, "x") for item in products.tolist()],
        }

    def mean(self) -> _Floats:
        """The mean vector, rounded once."""
        return np.array([self._rounded(item, self.number, 1) for item in self.sums.tolist()])

    def covariance(self) -> _Floats:
        """The population's covariance, rounded once."""
        sums = self.sums.tolist()
        found = np.zeros((self.width, self.width))
        for row, products in enumerate(self.products.tolist()):
            for column in range(row, self.width):
                exact = self.number * products[column] - sums[row] * sums[column]
                found[row, column] = self._rounded(exact, self.number**2, 2)
                found[column, row] = found[row, column]
        return found

    def _rounded(self, integer: int, divisor: int, power: int) -> float:
        if not integer:
            return 0.0
        # Dividing integers rounds once.
        exponent = self.exponent * power
        return (integer << max(exponent, 0)) / (divisor << max(-exponent, 0))


def _digits(values: _Floats) -> dict[int, _Floats]:
    """``values`` as the sum of whole numbers below 2**19 in magnitude times ``2**(19 * key)``."""
    digits = {}
    largest = float(np.abs(values).max(initial=0.0))
    place = (math.frexp(largest)[1] - 1) // _DIGIT
    while values.any():
        unit = math.ldexp(1.0, place * _DIGIT)
        digit = np.trunc(values / unit)
        if digit.any():
            digits[place] = digit
        values = values - digit * unit
        place -= 1
    return digits


def _whole(values: _Floats, shift: int) -> Any:
    """Whole floats as Python's integers, times ``2**shift``."""
    return values.astype(np.int64).astype(object) * (1 << shift)


def components(covariance: _Floats, number: int) -> _Floats:
    """Directions of the largest variance as columns, elements by ``number``.

    They are of length 1 and by descending variance. Of each, the element that is largest in
    magnitude (the first of such) is positive.
    """
    variances, directions = _eigenvectors(covariance)
    order = sorted(range(len(variances)), key=lambda place: (-variances[place], place))[:number]
    chosen = directions[order]
    largest = np.abs(chosen).argmax(axis=1)
    signs = np.where(chosen[np.arange(number), largest] < 0, -1.0, 1.0)
    return np.ascontiguousarray((chosen * signs[:, None]).T)


def _eigenvectors(symmetric: _Floats) -> tuple[list[float], _Floats]:
    """Eigenvalues, and eigenvectors as rows; in no order."""
    width = len(symmetric)
    # An even number of players; the one that is added plays no game.
    players = list(range(width + width % 2))
    matrix = np.zeros((len(players), len(players)))
    matrix[:width, :width] = symmetric
    vectors = np.eye(len(players))
    smallest = math.ldexp(math.fsum(np.abs(np.diagonal(symmetric)).tolist()), -52)
    half = len(players) // 2
    for _ in range(_SWEEPS):
        rotated = False
        for _ in range(len(players) - 1):
            pairs = np.sort(np.array([players[:half], players[: half - 1 : -1]]), axis=0)
            active = np.abs(matrix[pairs[0], pairs[1]]) > smallest
            if active.any():
                _rotate(matrix, vectors, pairs[0][active], pairs[1][active])
                rotated = True
            players = [players[0], players[-1], *players[1:-1]]
        if not rotated:
            break
    return np.diagonal(matrix)[:width].tolist(), vectors[:width, :width]


def _rotate(
    matrix: _Floats, vectors: _Floats, first: npt.NDArray[Any], second: npt.NDArray[Any]
) -> None:
    """Make the elements at ``(first, second)`` zero; no index occurs twice in these."""
    between = matrix[first, second]
    with np.errstate(over="ignore"):
        ratio = (matrix[second, second] - matrix[first, first]) / (2.0 * between)
        tangent = np.copysign(1.0, ratio) / (np.abs(ratio) + np.sqrt(ratio * ratio + 1.0))
    cosine = 1.0 / np.sqrt(tangent * tangent + 1.0)
    sine = tangent * cosine
    cosine, sine = cosine[:, None], sine[:, None]
    for turned in (matrix, matrix, vectors):
        upper, lower = turned[first], turned[second]
        turned[first] = cosine * upper - sine * lower
        turned[second] = sine * upper + cosine * lower
        if turned is matrix:
            # From the left, and then from the right, which is from the left of the transpose.
            matrix[:] = matrix.T.copy()
    matrix[first, second] = matrix[second, first] = 0.0


def project(
    vectors: npt.NDArray[np.float32],
    mean: Sequence[float],
    directions: Sequence[Sequence[float]],
) -> npt.NDArray[np.float32]:
    """Vectors seen from their mean along each direction, added up in the order of the elements.

    A matrix product would add in another order for one row than for many.
    """
    columns = np.array(directions, dtype=np.float64)
    projected = np.zeros((len(vectors), columns.shape[1]))
    for place, centre in enumerate(mean):
        projected += (vectors[:, place].astype(np.float64) - centre)[:, None] * columns[place]
    return projected.astype(np.float32)
