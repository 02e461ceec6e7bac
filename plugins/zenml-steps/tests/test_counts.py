"""How often each value of a column occurs."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.steps._counts import (
    Counts,
    count_values,
    decode_counts,
    encode_counts,
    up_to_too_many,
)

RANDOM = np.random.default_rng(7)


def counted(values: pl.Series, limit: int = 1_000) -> pl.DataFrame:
    """Counts that were sent."""
    encoded = encode_counts(count_values(values), limit)
    assert encoded is not None
    return decode_counts(encoded)


def counts_of(parts: list[pl.Series], limit: int) -> tuple[Counts, list[pl.DataFrame]]:
    """All counts, and what was given up."""
    counts = Counts(limit)
    spilled: list[pl.DataFrame] = []
    for part in parts:
        assert not spilled
        spilled += counts.add(counted(part))
    return counts, spilled or counts.settle()


def test_both_zeros_are_one_value() -> None:
    assert str(counted(pl.Series([-0.0, 0.0])).rows()) == "[(0.0, 2)]"


def test_what_is_not_finite_is_not_counted() -> None:
    assert counted(pl.Series([math.nan, math.inf, None, 1.0])).rows() == [(1.0, 1)]


def test_the_most_frequent_come_first_and_then_the_smaller_ones() -> None:
    counts, _ = counts_of([pl.Series(["b", "a", "b", None, "c"])], 3)
    assert counts.by_frequency().rows() == [("b", 2), ("a", 1), ("c", 1)]
    assert counts.by_value().rows() == [("a", 1), ("b", 2), ("c", 1)]


@pytest.mark.parametrize(
    "values",
    [
        [-(2**63), -(2**63) + 1, -(2**63)],
        [2**63 - 1, 2**63 - 2, 2**63 - 1],
        [-(2**63), 2**63 - 1],
        [-1, 1, None, 0, 1],
        [2**53 + 1, 2**53, 2**53 + 1],
        [5],
        [None],
    ],
)
def test_integers_are_counted_wherever_they_lie(values: list[int | None]) -> None:
    found = counted(pl.Series(values, dtype=pl.Int64)).rows()
    assert found == sorted(Counter(value for value in values if value is not None).items())


@pytest.mark.parametrize(
    "values", [["b", "é", "a", "😀", "~"], [3, -1], [0.5, -2.0], [True, False]]
)
def test_counts_are_sent_in_the_order_of_the_values(values: list[Any]) -> None:
    assert counted(pl.Series(values)).rows() == [(value, 1) for value in sorted(values)]


def test_counts_are_sent_without_other_text() -> None:
    rows = pl.Series([f"a text of more than twelve bytes, {place}" for place in range(1_000)])
    few = count_values(rows).filter(pl.col("value") == rows[7])
    assert len(encode_counts(few, 1) or b"") < 2_000
    assert encode_counts(count_values(rows), 999) is None


@pytest.mark.parametrize("kind", [int, str])
def test_whether_values_are_too_many_does_not_depend_on_the_division(kind: type) -> None:
    values = [kind(value) for value in RANDOM.integers(0, 50, 1_000)]
    for parts in ([values], [values[:10], values[10:600], values[600:]], [[v] for v in values]):
        series = [pl.Series(part) for part in parts]
        counts, spilled = counts_of(series, 50)
        assert not spilled
        assert dict(counts.by_value().rows()) == Counter(values)


def test_what_is_given_up_is_cut_at_the_shard_that_was_too_many() -> None:
    shards = [["a", "b"], ["b"], ["c"], ["d", "e"], ["a", "e"], ["f"]]
    for waiting in range(len(shards)):
        counts = Counts(3)
        spilled: list[pl.DataFrame] = []
        for place, shard in enumerate(shards):
            spilled += counts.add(counted(pl.Series(shard)))
            if place == waiting:
                spilled += counts.settle()
            if spilled:
                break
        found = [dict(frame.rows()) for frame in up_to_too_many(spilled or counts.settle(), 3)]
        assert found[0] == {"a": 1, "b": 2, "c": 1, "d": 1, "e": 1}
        assert found[1:] == [dict.fromkeys(shard, 1) for shard in shards[4 : place + 1]]
        assert not counts.by_value().height


def test_counting_can_be_given_up() -> None:
    counts = Counts(3)
    assert counts.give_up() == []
    counts.add(counted(pl.Series([1, 2])))
    counts.add(counted(pl.Series([2])))
    merged = up_to_too_many(counts.give_up(), 3)
    assert [dict(frame.rows()) for frame in merged] == [{1: 1, 2: 2}]
    assert counts.give_up() == []


def test_many_shards_are_merged_as_they_come() -> None:
    counts = Counts(10)
    for place in range(5_000):
        assert not counts.add(counted(pl.Series([place % 10])))
        assert len(counts._waiting) <= 256
    assert counts.settle() == []
    assert counts.by_value().rows() == [(value, 500) for value in range(10)]
