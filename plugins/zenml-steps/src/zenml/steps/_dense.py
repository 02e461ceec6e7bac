"""Dense layers, computed the same everywhere.

The result for a row is the same bits on every processor, with every library for matrices, and
whatever rows stand beside it. Numbers are cut at a common bit into two integers each, whose
products add up without error in any order (as Ozaki, Ogita, Oishi and Rump do, 2012). What is cut
off is below 2^-40 of the largest number of its row, far below the precision of the weights. All the
rest is basic arithmetic, element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["ACTIVATIONS", "Dense", "exp", "forward"]

_Floats = npt.NDArray[np.float64]

#: Rows that are computed at once: bounds the memory, and changes no result.
_ROWS: Final = 4096


class Dense:
    """One layer: ``activation(features @ weights + bias)``.

    Args:
        weights: Inputs by units, float32.
        bias: One for each unit, float32.
        activation: One of ``ACTIVATIONS``.
    """

    def __init__(
        self, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], activation: str
    ) -> None:
        self.weights = weights
        self.bias = bias
        self.activation = activation
        # Sums of so many products of integers of so many bits are exact in 53 bits.
        self._bits = (52 - len(weights).bit_length()) // 2
        self._high, self._low, self._exponents = _cut(weights.astype(np.float64), self._bits, 0)

    def apply(self, features: _Floats) -> _Floats:
        """The layer's outputs, rows by units. Features are finite."""
        high, low, exponents = _cut(features, self._bits, 1)
        crossed = high @ self._low + low @ self._high
        product = high @ self._high + np.ldexp(crossed, -self._bits)
        product = np.ldexp(product, exponents + self._exponents - 2 * self._bits)
        return ACTIVATIONS[self.activation](product + self.bias.astype(np.float64))


def forward(layers: Sequence[Dense], features: npt.NDArray[Any]) -> _Floats:
    """What the layers, one after the other, make of features (rows by columns)."""
    outputs = np.empty((len(features), len(layers[-1].bias)))
    for first in range(0, len(features), _ROWS):
        values: _Floats = features[first : first + _ROWS].astype(np.float64)
        for layer in layers:
            values = layer.apply(values)
        outputs[first : first + _ROWS] = values
    return outputs


def _cut(numbers: _Floats, bits: int, axis: int) -> tuple[_Floats, _Floats, npt.NDArray[np.int32]]:
    """Numbers as ``(high + low / 2**bits) * 2**(exponent - bits)``, high and low integers.

    Along the axis, they have one exponent.
    """
    _, exponents = np.frexp(np.abs(numbers).max(axis=axis, keepdims=True, initial=0.0))
    scaled = np.ldexp(numbers, bits - exponents)
    high = np.rint(scaled)
    low = np.rint(np.ldexp(scaled - high, bits))
    return high, low, exponents


# -- activations -----------------------------------------------------------------------------------

#: ln 2 in two parts; whole multiples of the first one, up to 2^11, are exact.
_LN_2_HIGH: Final = float.fromhex("0x1.62e42fefa3800p-1")
_LN_2_LOW: Final = float.fromhex("0x1.ef35793c76730p-45")
_TERMS: Final = 14

#: Below, a difference of exponentials is worse than the first terms of its series.
_SMALL: Final = 1e-4

_SELU_SCALE: Final = 1.0507009873554805
_SELU_ALPHA: Final = 1.6732632423543772


def exp(numbers: _Floats) -> _Floats:
    """The exponential function by basic arithmetic: libraries round it differently.

    The error is below 2 units in the last place; beyond 700 in magnitude it stays what it is there.
    """
    numbers = np.clip(numbers, -700.0, 700.0)
    twos = np.rint(numbers * 1.4426950408889634)
    rest = (numbers - twos * _LN_2_HIGH) - twos * _LN_2_LOW
    result = np.ones_like(rest)
    for term in range(_TERMS, 0, -1):
        result = result * rest / term + 1.0
    return np.ldexp(result, twos.astype(np.int32))


def _elu(numbers: _Floats, alpha: float = 1.0) -> _Floats:
    below = np.minimum(numbers, 0.0)
    series = below + below * below * 0.5 + below * below * below / 6.0
    return np.where(
        numbers > 0, numbers, alpha * np.where(below > -_SMALL, series, exp(below) - 1.0)
    )


def _selu(numbers: _Floats) -> _Floats:
    return _SELU_SCALE * _elu(numbers, _SELU_ALPHA)


def _sigmoid(numbers: _Floats) -> _Floats:
    small = exp(-np.abs(numbers))
    return np.where(numbers >= 0, 1.0, small) / (1.0 + small)


def _softmax(numbers: _Floats) -> _Floats:
    powers = exp(numbers - numbers.max(axis=1, keepdims=True, initial=-np.inf))
    total = np.zeros(len(powers))
    for place in range(powers.shape[1]):  # one after the other: a sum may take any order
        total += powers[:, place]
    return powers / total[:, None]


def _softsign(numbers: _Floats) -> _Floats:
    return numbers / (1.0 + np.abs(numbers))


def _tanh(numbers: _Floats) -> _Floats:
    size = np.abs(numbers)
    small = exp(-2.0 * size)
    series = size - size * size * size / 3.0
    return np.copysign(np.where(size < _SMALL, series, (1.0 - small) / (1.0 + small)), numbers)


ACTIVATIONS: Final[Mapping[str, Callable[[_Floats], _Floats]]] = {
    "elu": _elu,
    "linear": lambda numbers: numbers,
    "relu": lambda numbers: np.maximum(numbers, 0.0),
    "selu": _selu,
    "sigmoid": _sigmoid,
    "silu": lambda numbers: numbers * _sigmoid(numbers),
    "softmax": _softmax,
    "softsign": _softsign,
    "tanh": _tanh,
}
