"""Dense layers: close to the exact result, and the same bits in any company."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from zenml.steps._dense import ACTIVATIONS, Dense, exp, forward


def numbers(shape: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def bits(array: Any) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize(("inputs", "units"), [(1, 1), (3, 2), (20, 64), (1000, 5), (5000, 3)])
def test_a_layer_is_close_to_the_exact_result(inputs: int, units: int) -> None:
    # Columns of very different magnitudes, as features without scaling have.
    scale = np.logspace(-6, 6, inputs, dtype=np.float32)
    features, weights, bias = numbers((5, inputs)) * scale, numbers((inputs, units)), numbers(units)
    found = forward([Dense(weights, bias, "linear")], features)
    for row in range(len(features)):
        for unit in range(units):
            terms = [
                Fraction(float(x)) * Fraction(float(w))
                for x, w in zip(features[row], weights[:, unit], strict=True)
            ]
            exact = sum(terms) + Fraction(float(bias[unit]))
            largest = float(np.abs(features[row]).max() * np.abs(weights[:, unit]).max())
            largest = max(largest, abs(float(bias[unit])))
            # Far below the rounding of the 24 bits that features and weights have.
            assert abs(float(Fraction(found[row, unit]) - exact)) <= inputs * largest * 2**-36


def network() -> list[Dense]:
    sizes = [20, 64, 32, 3]
    activations = ["relu", "tanh", "softmax"]
    return [
        Dense(numbers((inputs, units), 1) * 0.2, numbers(units, 2), activation)
        for inputs, units, activation in zip(sizes, sizes[1:], activations, strict=False)
    ]


def test_a_row_gives_the_same_bits_in_any_company() -> None:
    layers, features = network(), numbers((5_000, 20))
    whole = forward(layers, features)
    order = np.random.default_rng(1).permutation(len(features))
    assert bits(forward(layers, features[order])) == bits(whole[order])
    for size in (1, 2, 3, 7, 64, 1000, 4097):
        first = slice(0, min(40 * size, len(features)))
        rows = features[first]
        chunks = [forward(layers, rows[at : at + size]) for at in range(0, len(rows), size)]
        assert bits(np.concatenate(chunks)) == bits(whole[first]), size


def test_the_bits_do_not_depend_on_the_threads_of_the_library_for_matrices() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    layers, features = network(), numbers((5_000, 20))
    with threadpoolctl.threadpool_limits(1):
        alone = forward(layers, features)
    with threadpoolctl.threadpool_limits(2):
        assert bits(forward(layers, features)) == bits(alone)


def test_products_are_exact_so_that_their_order_does_not_matter() -> None:
    weights, features = numbers((300, 4)), numbers((50, 300))
    order = np.random.default_rng(1).permutation(300)
    bias = np.zeros(4, np.float32)
    found = forward([Dense(weights, bias, "linear")], features)
    other = forward([Dense(weights[order], bias, "linear")], features[:, order])
    assert bits(found) == bits(other)


def test_no_rows_are_no_results() -> None:
    assert forward(network(), np.zeros((0, 20), np.float32)).shape == (0, 3)


def test_zeros_and_tiny_numbers_are_numbers() -> None:
    layer = Dense(np.full((2, 1), 1e-30, np.float32), np.zeros(1, np.float32), "linear")
    features = np.array([[0.0, 0.0], [1e-30, 1e-38], [3e38, 3e38]], np.float32)
    found = forward([layer], features)[:, 0]
    assert found[0] == 0.0
    assert found[1] == pytest.approx(1e-60, rel=1e-6)
    assert found[2] == pytest.approx(6e8, rel=1e-6)


def test_the_exponential_function_is_exact_to_its_last_bits() -> None:
    points = np.concatenate([np.linspace(-700, 700, 2001), np.linspace(-1, 1, 501)])
    for point, found in zip(points.tolist(), exp(points).tolist(), strict=True):
        assert found == pytest.approx(math.exp(point), rel=4 * 2.0**-53)
    assert exp(np.array([-1e9, 1e9])).tolist() == exp(np.array([-700.0, 700.0])).tolist()


EXPECTED = {
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
    "silu": lambda x: x / (1 + math.exp(-x)) if x > -700 else 0.0,
    "softsign": lambda x: x / (1 + abs(x)),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_activation_is_what_its_name_says(name: str) -> None:
    points = [0.0, -0.0, *(sign * 10.0**e for e in range(-12, 3) for sign in (1, -1)), 0.3, -7.5]
    found = ACTIVATIONS[name](np.array([points]))[0]
    for point, value in zip(points, found.tolist(), strict=True):
        assert value == pytest.approx(EXPECTED[name](point), rel=1e-11, abs=1e-300), point


def test_softmax_gives_shares() -> None:
    found = ACTIVATIONS["softmax"](np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]]))
    total = sum(math.exp(x) for x in (1, 2, 3))
    assert found[0].tolist() == pytest.approx([math.exp(x) / total for x in (1, 2, 3)])
    assert found[1].tolist() == [1.0, pytest.approx(0.0), pytest.approx(0.0)]


def test_every_activation_that_can_be_asked_for_is_there() -> None:
    from zenml.steps._feedforward import RANGES

    assert set(RANGES) == set(ACTIVATIONS) == {*EXPECTED, "softmax"}
    points = np.linspace(-60, 60, 10_001)[None, :]
    for name, (low, high) in RANGES.items():
        found = ACTIVATIONS[name](points)
        assert low <= found.min(), name
        assert found.max() <= high, name
