"""What is estimated of a column, and how far it may be from the truth."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenml.steps._bars import Bars
from zenml.steps._counts import count_values
from zenml.steps._measures import Sketch
from zenml.steps._sketches import DISTINCT_ERROR, Distinct, Frequent

RANDOM = np.random.default_rng(7)


def distinct_of(parts: list[pl.Series]) -> Distinct:
    merged = Distinct()
    for part in parts:
        merged.add(Distinct.of(count_values(part)["value"]).encode())
    return merged


def frequent_of(parts: list[pl.Series]) -> Frequent:
    merged = Frequent()
    for part in parts:
        merged.add_encoded(*Frequent.of(count_values(part)).encode())
    return merged


def counts_of(sketch: Frequent) -> dict[Any, int]:
    return dict(sketch.by_frequency())


# -- how many --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "number"),
    [("integers", 9_000), ("integers", 1_000_000), ("floats", 1_000_000), ("texts", 100_000)],
)
def test_an_estimate_is_close_to_the_truth(kind: str, number: int) -> None:
    integers = pl.Series(np.arange(number))
    values = {
        "integers": integers,
        "floats": integers / 7,
        "texts": "user-" + integers.cast(pl.String),
    }[kind]
    found = Distinct.of(values).estimate()
    assert found == pytest.approx(number, rel=4 * DISTINCT_ERROR)


def test_an_estimate_does_not_depend_on_the_division() -> None:
    values = pl.Series(RANDOM.integers(0, 50_000, 100_000))
    whole = distinct_of([values])
    parts = [values[:10], values[10:90_000], values[90_000:]]
    assert distinct_of(parts).encode() == distinct_of(parts[::-1]).encode() == whole.encode()
    merged = distinct_of([values[500:]])
    merged.add_values(values[:500])
    assert merged.encode() == whole.encode()


def test_hashes_are_what_they_always_were() -> None:
    columns = [
        pl.Series(np.arange(-5_000, 5_000)),
        pl.Series(np.arange(-5_000, 5_000) / 8),
        pl.Series([f"é {number}" for number in range(10_000)]),
    ]
    encoded = [base64.b64encode(Distinct.of(column).encode()) for column in columns]
    digests = [hashlib.sha256(text).hexdigest()[:16] for text in encoded]
    assert digests == ["7c0e2a02c4c2af74", "5766e24da7a655bd", "3be6f05ce9e3f590"]


def test_both_zeros_are_one_distinct_value() -> None:
    assert distinct_of([pl.Series([0.0]), pl.Series([-0.0])]).estimate() == 1
    assert frequent_of([pl.Series([-0.0])]).by_frequency() == [[0.0, 1]]


def test_what_is_missing_or_not_finite_is_no_value() -> None:
    values = pl.Series([None, math.nan, math.inf, 1.0])
    assert (distinct_of([values]).estimate(), counts_of(frequent_of([values]))) == (1, {1.0: 1})


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text("\0a", max_size=20),
    st.integers(0, 600).map(lambda length: "é" * (length // 2) + "x" * (length % 2)),
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=30, unique=True))
def test_a_text_has_one_hash_whatever_stands_beside_it(texts: list[str]) -> None:
    whole = Distinct.of(pl.Series(texts))
    assert whole.estimate() == len(texts)
    assert distinct_of([pl.Series([text]) for text in texts]).encode() == whole.encode()


# -- which ones ------------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 40_000), min_size=1, max_size=4),
    st.floats(1.05, 3),
    st.integers(0, 2**16),
)
def test_counts_are_too_small_by_no_more_than_is_said(
    sizes: list[int], slope: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    parts = [pl.Series(random.zipf(slope, size).clip(max=10**9)) for size in sizes]
    merged = frequent_of(parts)
    true = Counter(value for part in parts for value in part.to_list())
    assert merged.error <= sum(sizes) / 1_000
    counts = counts_of(merged)
    assert len(counts) <= 1_000
    for value, count in counts.items():
        assert true[value] - merged.error <= count <= true[value]
    for value, count in true.items():
        assert value in counts or count <= merged.error


def test_few_values_are_counted_exactly() -> None:
    values = pl.Series(RANDOM.integers(0, 900, 5_000))
    merged = frequent_of([values[:100], values[100:]])
    assert merged.error == 0
    assert counts_of(merged) == Counter(values.to_list())
    counts = [count for _, count in merged.by_frequency()]
    assert counts == sorted(counts, reverse=True)


def test_where_all_values_differ_none_is_frequent() -> None:
    merged = frequent_of([pl.Series(np.arange(start, start + 2_000)) for start in (0, 2_000)])
    assert (merged.by_frequency(), merged.error) == ([], 2)


# -- bars ------------------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.one_of(
    st.lists(FLOATS, min_size=1, max_size=40),
    st.lists(st.floats(-10, 10), min_size=1, max_size=40),
    st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=40),
    st.lists(st.integers(1990, 2030), min_size=1, max_size=40),
)


def exact(values: list[Any]) -> Bars:
    values = [value + 0 for value in values]
    pairs = sorted(Counter(values).items())
    return Bars.of(pairs, min(values), max(values), exact=True)


def sketched(values: list[Any]) -> Bars:
    values = [value + 0 for value in values]
    pairs = Sketch.of(np.array(values)).pairs()
    return Bars.of(pairs, min(values), max(values), exact=False)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(NUMBERS)
def test_every_number_is_in_the_bar_between_whose_edges_it_is(values: list[Any]) -> None:
    for bars in (exact(values), sketched(values)):
        plain = bars.encode()
        edges, counts = plain["edges"], plain["counts"]
        assert 1 <= len(counts) <= 32
        assert len(edges) == len(counts) + 1
        assert sum(counts) == len(values)
        assert edges == sorted(edges)
        assert all(math.isfinite(edge) for edge in edges)
        tiny = any(0 < abs(value) < 1e-300 for value in values)  # may be taken for zero
        assert edges[0] <= min(values)
        assert max(values) <= edges[-1]
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            # A bar holds its edge that is nearer to zero.
            inside = [v for v in values if (low <= v < high if low >= 0 else low < v <= high)]
            if max(abs(low), abs(high)) < 1e308 and not tiny and 0 not in values:
                assert len(inside) == count
        assert Bars.decode(json.loads(json.dumps(plain))) == bars


@settings(derandomize=True, max_examples=200, deadline=None)
@given(NUMBERS)
def test_counted_and_sketched_numbers_give_equal_shares(values: list[Any]) -> None:
    # Numbers between the smallest one and the edge of its bin are taken for zero.
    values = [value for value in values if abs(value) > 1e-300] or [1.0]
    assert exact(values).divergence(sketched(values)) == 0.0


def test_bars_of_integers_are_not_narrower_than_one() -> None:
    plain = exact([1990, 1990, 1993]).encode()
    assert plain["edges"] == [1990.0, 1991.0, 1992.0, 1993.0, 1994.0]
    assert plain["counts"] == [2, 0, 0, 1]


def test_there_are_more_than_sixteen_bars_where_numbers_are_many() -> None:
    for values in ([0.5, 1.7], list(range(100)), [-1e300, 1e-300, 1e300]):
        assert 16 < len(exact(values).counts) <= 32


@pytest.mark.parametrize(
    ("left", "right", "divergence"),
    [
        ([1, 2, 3], [1, 2, 3, 1, 2, 3], 0.0),
        ([1, 2, 3], [1_000_001, 1_000_002], 1.0),
        ([0, 1], [0], 0.311278),
        ([5.0], [5.0], 0.0),
        ([5.0], [-5.0], 1.0),
    ],
)
def test_divergence(left: list[Any], right: list[Any], divergence: float) -> None:
    assert exact(left).divergence(exact(right)) == divergence
    assert exact(right).divergence(exact(left)) == divergence
