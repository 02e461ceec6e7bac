"""What is measured of a column."""

from __future__ import annotations

import math
import statistics

import numpy as np
import polars as pl
import pytest

from zenml.steps._measures import Moments, Sketch, numbers_of, quantiles

RANDOM = np.random.default_rng(7)


def test_numbers_are_told_from_everything_else() -> None:
    column = pl.Series([1.5, None, math.nan, math.inf, -math.inf, -2.0])
    numbers = numbers_of(column)
    assert numbers.finite.tolist() == [1.5, -2.0]
    assert (numbers.nulls, numbers.nans, numbers.infinite, numbers.missing) == (1, 1, 2, 2)


def test_booleans_count_as_zero_and_one() -> None:
    assert numbers_of(pl.Series([True, None, False])).finite.tolist() == [1, 0]


def test_moments_of_parts_are_the_moments_of_the_whole() -> None:
    values = RANDOM.normal(size=1_000)
    parts = [Moments.of(part) for part in np.array_split(values, 7)]
    merged = Moments()
    for part in parts:
        merged = merged.plus(Moments.decode(part.encode()))
    assert merged.encode() == Moments.of(values).encode()
    assert merged.mean() == pytest.approx(statistics.fmean(values))
    assert merged.deviation() == pytest.approx(statistics.pstdev(values))
    assert (merged.minimum, merged.maximum) == (values.min(), values.max())


def test_moments_take_a_value_many_times() -> None:
    values = np.array([1.0, 2.0, 5.5])
    assert Moments.of(values).plus_value(0.1, 1_000).encode() == (
        Moments.of(np.concatenate([values, np.full(1_000, 0.1)])).encode()
    )


def test_moments_of_counts_are_those_of_the_values() -> None:
    values = [-(2**63), 2**53 + 1, 0, 2**63 - 1]
    counts = [3, 1, 1_000, 2]
    repeated = np.repeat(np.array(values), counts)
    counted = pl.DataFrame({"value": values, "count": counts})
    assert Moments.of_counted(counted).encode() == Moments.of(repeated).encode()
    assert Moments.of_counted(counted.clear()) == Moments()
    booleans = pl.DataFrame({"value": [False, True], "count": [2, 1]})
    assert Moments.of_counted(booleans).encode() == Moments.of(np.array([0, 0, 1])).encode()


def test_moments_of_nothing_are_nothing() -> None:
    moments = Moments.of(np.array([]))
    assert (moments.mean(), moments.deviation(), moments.minimum) == (None, None, None)


def test_both_zeros_are_one_value() -> None:
    assert str(Moments.of(np.array([-0.0])).minimum) == "0.0"


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e12])
def test_quantiles_of_a_sketch_are_close_to_the_true_ones(scale: float) -> None:
    values = np.sort(RANDOM.normal(size=20_001) * scale)
    levels = [0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999]
    found = quantiles(Sketch.of(values).pairs(), levels)
    for level, quantile in zip(levels, found, strict=True):
        true = values[math.ceil(level * len(values)) - 1]
        assert abs(quantile) <= abs(true)
        assert abs(quantile - true) < abs(true) / 256


def test_a_sketch_is_exact_for_small_integers() -> None:
    values = RANDOM.integers(-512, 512, 5_000)
    found = quantiles(Sketch.of(values).pairs(), [0.0, 0.5, 1.0])
    assert found == [values.min(), np.sort(values)[2_499], values.max()]


def test_sketches_of_parts_are_the_sketch_of_the_whole() -> None:
    values = RANDOM.normal(size=1_000)
    merged = Sketch()
    for part in np.array_split(values, 9):
        merged.add(*Sketch.of(part).encode())
    assert merged.encode() == Sketch.of(values).encode()
    merged.add_value(values[0], 3)
    assert merged.encode() == Sketch.of(np.append(values, [values[0]] * 3)).encode()
