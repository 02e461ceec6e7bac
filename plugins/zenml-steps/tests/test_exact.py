"""Sums are exact, whatever the values, their order, and how they are divided."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from zenml.steps._exact import Dyadic, mean, standard_deviation, sum_of, sum_of_squares

RANDOM = np.random.default_rng(20_130_101)

SAMPLES = {
    "one": np.array([0.1]),
    "ordinary": RANDOM.normal(size=50_000),
    "prices": np.round(RANDOM.uniform(0, 1e4, 50_000), 2),
    "cancelling": np.concatenate([RANDOM.normal(size=9_999) * 1e17, [1.0, -1e-9]]),
    "over all magnitudes": RANDOM.normal(size=3_000) * 10.0 ** RANDOM.integers(-300, 150, 3_000),
    "subnormal": RANDOM.integers(-1000, 1000, 3_000) * 5e-324,
    "near the largest": RANDOM.uniform(-1, 1, 3_000) * 1.7e308,
    "zeros": np.zeros(100),
    "negative zero": np.array([-0.0]),
}


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
def test_a_sum_of_floats_is_the_exact_sum(values: np.ndarray) -> None:
    assert sum_of(values).fraction() == sum(map(Fraction, values.tolist()))


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
def test_a_sum_of_squares_is_the_exact_sum_of_squares(values: np.ndarray) -> None:
    few = values[:3_000]
    assert sum_of_squares(few).fraction() == sum(Fraction(value) ** 2 for value in few.tolist())


def test_the_rounded_sum_is_that_of_fsum() -> None:
    values = SAMPLES["ordinary"]
    assert float(sum_of(values).fraction()) == math.fsum(values)


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
def test_neither_order_nor_division_changes_a_sum(values: np.ndarray) -> None:
    shuffled = values.tolist()
    random.Random(1).shuffle(shuffled)  # noqa: S311 - a test
    third = len(shuffled) // 3
    parts = [np.array(shuffled[:third]), np.array(shuffled[third:])]
    total, squares = Dyadic(), Dyadic()
    for part in parts:
        total = total.plus(Dyadic.decode(sum_of(part).encode()))
        squares = squares.plus(Dyadic.decode(sum_of_squares(part).encode()))
    assert total.encode() == sum_of(values).encode()
    assert squares.encode() == sum_of_squares(values).encode()


@pytest.mark.parametrize("bits", [8, 20, 24, 25, 31, 40, 49, 50, 63])
def test_integers_do_not_overflow(bits: int) -> None:
    limit = 2**bits
    values = RANDOM.integers(-limit, limit - 1, 10_000, endpoint=True)
    values[0] = -limit
    exact = values.tolist()
    assert sum_of(values).fraction() == sum(exact)
    assert sum_of_squares(values).fraction() == sum(value * value for value in exact)


def test_nothing_sums_to_nothing() -> None:
    for kind in (np.float64, np.int64):
        nothing = np.array([], dtype=kind)
        assert sum_of(nothing).fraction() == 0
        assert sum_of_squares(nothing).fraction() == 0


def test_mean_and_deviation_are_rounded_at_the_end_only() -> None:
    values = 1e9 + RANDOM.normal(size=10_000) * 1e-3  # where sums of squares in floats give nothing
    exact = [Fraction(value) for value in values.tolist()]
    average = sum(exact) / len(exact)
    variance = sum((value - average) ** 2 for value in exact) / len(exact)
    total, squares = sum_of(values), sum_of_squares(values)
    assert mean(total, len(values)) == float(average)
    assert standard_deviation(total, squares, len(values)) == math.sqrt(float(variance))


def test_a_constant_has_no_deviation() -> None:
    values = np.full(1_000, 0.1)
    assert standard_deviation(sum_of(values), sum_of_squares(values), 1_000) == 0.0


def test_deviations_of_extreme_values_stay_in_range() -> None:
    for scale in (1e-310, 1e-160, 1e160, 1e307):
        values = np.array([1.0, 2.0, 3.0, 4.0]) * scale
        found = standard_deviation(sum_of(values), sum_of_squares(values), 4)
        assert found == pytest.approx(1.118033988749895 * scale, rel=1e-12)
