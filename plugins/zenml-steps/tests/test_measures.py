"""What is measured of a column."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.steps._measures import (
    Counts,
    Moments,
    Sketch,
    count_values,
    encode_counts,
    in_columns,
    numbers_of,
    quantiles,
)

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
    assert Moments.of_counted(values, counts).encode() == Moments.of(repeated).encode()
    assert Moments.of_counted([], []) == Moments()
    assert Moments.of_counted([False, True], [2, 1]).encode()["max"] == 1


def test_moments_of_nothing_are_nothing() -> None:
    moments = Moments.of(np.array([]))
    assert (moments.mean(), moments.deviation(), moments.minimum) == (None, None, None)


def test_both_zeros_are_one_value() -> None:
    assert str(Moments.of(np.array([-0.0])).minimum) == "0.0"
    assert str(encode_counts(count_values(pl.Series([-0.0, 0.0])), 5)) == "[[0.0], [2]]"


def counts_of(parts: list[pl.Series], limit: int) -> Counts:
    merged = Counts(limit)
    for part in parts:
        merged.add(encode_counts(count_values(part), limit))
    return merged


def test_values_are_counted_up_to_a_limit() -> None:
    values = pl.Series(["b", "a", "b", None, "c"])
    assert counts_of([values], 3).by_frequency() == [["b", 2], ["a", 1], ["c", 1]]
    assert counts_of([values], 2).values is None


def test_whether_values_are_too_many_does_not_depend_on_the_division() -> None:
    values = pl.Series(RANDOM.integers(0, 50, 1_000).tolist())
    parts = [values[:10], values[10:600], values[600:]]
    assert counts_of(parts, 50).by_frequency() == counts_of([values], 50).by_frequency()
    assert len(counts_of(parts, 50).values or {}) == 50
    assert counts_of(parts, 49).values is None
    assert counts_of([values], 49).values is None


@pytest.mark.parametrize(
    "values", [["b", "é", "a", "😀", "~"], [3, -1], [0.5, -2.0], [True, False]]
)
def test_counts_are_written_in_the_order_of_the_values(values: list[Any]) -> None:
    assert encode_counts(count_values(pl.Series(values)), 9) == in_columns(dict.fromkeys(values, 1))


def test_what_is_not_finite_is_not_counted() -> None:
    values = pl.Series([math.nan, math.inf, None, 1.0])
    assert encode_counts(count_values(values), 9) == [[1.0], [1]]


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
