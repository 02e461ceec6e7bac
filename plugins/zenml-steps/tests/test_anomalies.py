"""How data differs from the data that a model was trained on."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenml.core.errors import ConfigurationError, DataError
from zenml.steps._comparing import largest_difference
from zenml.steps._statistics import measure, merge
from zenml.steps.anomalies import Anomalies
from zenml.steps.statistics import SplitStatistics

RANDOM = np.random.default_rng(3)
KINDS = {pl.Int64: "integer", pl.Float64: "float", pl.String: "string", pl.Boolean: "boolean"}


@pytest.fixture
def describe(bench: Any) -> Callable[..., dict[str, Any]]:
    """The statistics of some columns."""

    def describe_columns(**columns: Any) -> dict[str, Any]:
        frame = pl.DataFrame(columns)
        schema = {name: KINDS[type(dtype)] for name, dtype in frame.schema.items()}
        return merge([measure(frame, bench.files)], schema, bench.files)

    return describe_columns


def kinds(anomalies: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(anomaly["column"], anomaly["kind"]) for anomaly in anomalies]


def test_equal_data_has_no_anomalies(describe: Callable[..., Any]) -> None:
    for columns in (
        {"n": list(range(200)), "s": ["a", "b"] * 100, "b": [True, None] * 100},
        {"x": [math.nan] * 5, "nulls": pl.Series([None] * 5, dtype=pl.Float64)},
        {"x": [1.5]},
    ):
        described = describe(**columns)
        assert Anomalies().compare(described, described) == []


def test_random_splits_have_no_anomalies(bench: Any, split_examples: Any) -> None:
    described = bench.run(SplitStatistics(), examples=split_examples)
    assert bench.run(Anomalies(), statistics=described) == {
        "baseline": "train",
        "splits": {"eval": [], "test": []},
    }


def test_columns_that_come_and_go(describe: Callable[..., Any]) -> None:
    before, today = describe(a=[1], b=[1]), describe(b=[1], c=[1])
    assert kinds(Anomalies().compare(today, before)) == [
        ("a", "missing_column"),
        ("c", "new_column"),
    ]


def test_a_column_of_another_type(describe: Callable[..., Any]) -> None:
    found = Anomalies().compare(describe(a=["1"]), describe(a=[1]))
    assert found == [
        {
            "column": "a",
            "kind": "type",
            "message": "expected integer, found string",
            "expected": "integer",
            "found": "string",
        }
    ]


def test_a_single_missing_value_where_none_was(describe: Callable[..., Any]) -> None:
    found = Anomalies().compare(describe(a=[1, None]), describe(a=[1, 1]))
    assert kinds(found) == [("a", "missing_values")]
    assert (found[0]["expected"], found[0]["found"]) == (1.0, 0.5)


@pytest.mark.parametrize(("present", "expected"), [(81, []), (79, [("a", "missing_values")])])
def test_more_missing_values_than_there_were(
    describe: Callable[..., Any], present: int, expected: Any
) -> None:
    before = describe(a=[1] * 180 + [None] * 20)
    today = describe(a=[1] * present + [None] * (100 - present))
    assert kinds(Anomalies().compare(today, before)) == expected
    few = describe(a=[1] + [None] * 50)
    assert Anomalies().compare(few, before) == []


def test_a_column_that_has_become_empty(describe: Callable[..., Any]) -> None:
    before = describe(x=[1.0], s=["a"])
    today = describe(x=pl.Series([None], dtype=pl.Float64), s=pl.Series([None], dtype=pl.String))
    assert kinds(Anomalies().compare(today, before)) == [
        ("x", "missing_values"),
        ("s", "missing_values"),
    ]


def test_what_is_no_number_where_all_were(describe: Callable[..., Any]) -> None:
    found = Anomalies().compare(describe(x=[1.0, math.nan, math.inf]), describe(x=[1.0, 1.0]))
    assert kinds(found) == [("x", "not_finite")]
    assert found[0]["found"] == 2


def test_new_values_are_named(describe: Callable[..., Any]) -> None:
    found = Anomalies().compare(
        describe(s=["a", "c", "c"], b=[True, False, True]),
        describe(s=["a", "b", "b"], b=[True, True, True]),
    )
    assert kinds(found) == [("s", "new_values"), ("b", "new_values")]
    assert found[0]["values"] == [["c", 2]]
    assert found[0]["message"] == "values are new: 'c'"


def test_new_values_among_too_many_to_list(describe: Callable[..., Any]) -> None:
    before = describe(s=["a"] * 20 + ["b"] * 20)
    today = describe(s=["a"] * 20 + [str(number) for number in range(100)])
    found = Anomalies(category_distance=1).compare(today, before)
    assert kinds(found) == [("s", "new_values")]
    before = describe(s=[f"{n}" for n in range(100)] * 2)
    today = describe(s=[f"{n}" for n in range(100)] * 2 + ["new"])
    assert kinds(Anomalies().compare(today, before)) == [("s", "new_values")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 15], []), ([-5, 10], []), ([0, 16], [("n", "range")]), ([-6], [("n", "range")])],
)
def test_numbers_out_of_range(describe: Callable[..., Any], values: Any, expected: Any) -> None:
    assert kinds(Anomalies().compare(describe(n=values), describe(n=[0, 10]))) == expected


def test_the_whole_range_of_floats(describe: Callable[..., Any]) -> None:
    before, today = describe(x=[-1e308, 1e308]), describe(x=[-1.7e308, 1.7e308])
    assert Anomalies().compare(today, before) == []
    assert kinds(Anomalies(range_excess=0.1).compare(today, before)) == [("x", "range")]


def test_categories_whose_shares_have_changed(describe: Callable[..., Any]) -> None:
    before = describe(s=["a"] * 50 + ["b"] * 50)
    slightly, much = (describe(s=["a"] * n + ["b"] * (100 - n)) for n in (59, 61))
    assert Anomalies().compare(slightly, before) == []
    assert Anomalies().compare(much, before) == [
        {
            "column": "s",
            "kind": "distribution",
            "message": "the distance of the distributions is 0.11, above 0.1",
            "distance": 0.11,
            "limit": 0.1,
        }
    ]
    few = describe(s=["a"] * 99)
    assert Anomalies().compare(few, before) == []


@pytest.mark.parametrize("number", [500, 50_000])
def test_numbers_whose_distribution_has_changed(describe: Callable[..., Any], number: int) -> None:
    before = describe(x=RANDOM.normal(size=number), n=RANDOM.integers(0, 12, number))
    same = describe(x=RANDOM.normal(size=900), n=RANDOM.integers(0, 13, 900))
    moved = describe(x=RANDOM.normal(size=900) + 2, n=RANDOM.integers(0, 12, 900) ** 2 // 11)
    assert Anomalies().compare(same, before) == []
    assert kinds(Anomalies().compare(moved, before)) == [
        ("x", "distribution"),
        ("n", "distribution"),
    ]


def test_a_split_without_rows(describe: Callable[..., Any]) -> None:
    described = describe(a=[1])
    nothing = describe(a=pl.Series([], dtype=pl.Int64))
    assert Anomalies().compare(nothing, described) == [
        {"column": None, "kind": "no_rows", "message": "there are no rows"}
    ]
    with pytest.raises(DataError, match="the baseline has no rows"):
        Anomalies().compare(described, nothing)


def test_statistics_of_another_kind_are_refused(describe: Callable[..., Any]) -> None:
    described = describe(a=[1])
    with pytest.raises(DataError, match="not those of splits"):
        Anomalies().run(described)
    with pytest.raises(DataError, match="no statistics of a split 'train'"):
        Anomalies().run({"splits": {"nosplit": described}})
    with pytest.raises(DataError, match="not the statistics of some rows"):
        Anomalies().compare({"splits": {"eval": described}}, described)


VALUES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(VALUES, VALUES, st.integers(1, 8), st.integers(1, 8), st.integers(0, 3))
def test_the_largest_difference_is_never_above_the_true_one(
    one: list[str], other: list[str], listed: int, listed_too: int, error: int
) -> None:
    """Given lists that are complete or cut off, exact or too small by an error."""

    def column(values: list[str], top: int, error: int) -> dict[str, Any]:
        counts = Counter(values).most_common()
        made = {"count": len(values), "distinct": len(counts), "top": counts[:top]}
        if error:
            kept = [[value, count - 1] for value, count in counts if count > 1]
            made |= {"top": kept[:top], "top_error": error, "distinct": 99}
        return made

    true = max(
        abs(one.count(value) / len(one) - other.count(value) / len(other))
        for value in {*one, *other}
    )
    exact = largest_difference(column(one, 9, 0), column(other, 9, 0))
    assert exact == pytest.approx(true, abs=1e-6)
    found = largest_difference(column(one, listed, error), column(other, listed_too, 0))
    assert 0 <= found <= true + 1e-6


def test_anomalies_are_plain_data_in_a_fixed_order(describe: Callable[..., Any]) -> None:
    before = describe(x=RANDOM.normal(size=500), s=["a", "b"] * 250)
    today = describe(x=RANDOM.normal(size=500) * 9, s=["a", "c"] * 250)
    found = Anomalies().compare(today, before)
    assert kinds(found) == [
        ("x", "range"),
        ("x", "distribution"),
        ("s", "new_values"),
        ("s", "distribution"),
    ]
    stored = json.loads(json.dumps([today, before]))
    assert Anomalies().compare(*stored) == found


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"presence_loss": 1.5}, "presence_loss"),
        ({"number_distance": math.nan}, "number_distance"),
        ({"category_distance": -0.1}, "category_distance"),
        ({"range_excess": -1.0}, "range_excess"),
        ({"min_count": 0}, "min_count"),
    ],
)
def test_thresholds_are_checked(parameters: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Anomalies(**parameters)
    assert [problem.path for problem in caught.value.problems] == [path]
