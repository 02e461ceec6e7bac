"""Splits by time."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenml.core.errors import ConfigurationError, DataError
from zenml.steps._shares import cuts
from zenml.steps.dataset import SPLIT_PART
from zenml.steps.split import TimeRatioSplit, TimeSplit

ENDS: dict[str, Any] = {"train": "2013-09-01", "eval": "2013-11", "test": None}
SHARES = {"train": 0.7, "eval": 0.2, "test": 0.1}


def assigned(split: Any, values: list[Any]) -> list[str | None]:
    found: list[str | None] = split.assign(pl.DataFrame({"t": values}), 0).to_list()
    return found


def names_of(dataset: Any, bench: Any) -> list[str | None]:
    frames = (pl.read_parquet(bench.files.fetch(s.files[SPLIT_PART])) for s in dataset.shards)
    codes = itertools.chain.from_iterable(frame["split"].to_list() for frame in frames)
    return [None if code is None else dataset.splits[code] for code in codes]


# -- by ends ---------------------------------------------------------------------------------------


def test_a_split_holds_what_is_before_its_end_and_not_before_the_last_one() -> None:
    split = TimeSplit(column="t", split_map=ENDS)
    times = ["2012", "2013-08-31T23:59:59Z", "2013-09-01", "2013-10-31", "2013-11-01", None]
    assert assigned(split, times) == ["train", "train", "eval", "eval", "test", None]
    assert split.get_split_names() == ["train", "eval", "test"]


def test_the_order_in_which_ends_are_written_says_nothing() -> None:
    turned = TimeSplit(column="t", split_map=dict(sorted(ENDS.items(), reverse=True)))
    assert turned.get_split_names() == ["train", "eval", "test"]


def test_without_a_last_split_what_is_later_is_left_out() -> None:
    split = TimeSplit(column="t", split_map={"train": 10, "eval": 20})
    assert assigned(split, [-5, 9, 10, 19, 20, None]) == [
        "train",
        "train",
        "eval",
        "eval",
        None,
        None,
    ]


def test_whole_numbers_are_compared_as_such() -> None:
    big = (1 << 53) + 1
    split = TimeSplit(column="t", split_map={"train": big, "eval": None})
    assert assigned(split, [big - 1, big]) == ["train", "eval"]
    half = TimeSplit(column="t", split_map={"train": 2.5, "eval": None})
    assert assigned(half, [2, 3]) == ["train", "eval"]


def test_what_is_no_number_is_no_time() -> None:
    split = TimeSplit(column="t", split_map={"train": 0, "eval": None})
    values = [-1.5, -0.0, math.nan, math.inf, -math.inf, 1e300]
    assert assigned(split, values) == ["train", "eval", None, None, None, "eval"]


def test_spellings_of_one_time_are_one_time() -> None:
    split = TimeSplit(column="t", split_map={"train": "2013-09-01 12:00", "eval": None})
    times = ["2013-09-01T11:59Z", "2013-09-01T12:00", "2013-09-01 12:00Z", "2013-09-01 11:59:59"]
    assert assigned(split, times) == ["train", "eval", "eval", "train"]
    with pytest.raises(ConfigurationError, match="ends when 'a' does"):
        TimeSplit(column="t", split_map={"a": "2013-09-01 12:00", "b": "2013-09-01T12:00Z"})


@pytest.mark.parametrize("text", ["9/1/2013", "Sep 1 2013", "", "2013-09-01T12:00:00+02:00"])
def test_text_that_is_not_in_the_order_of_time_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="is no time whose text can be compared"):
        assigned(TimeSplit(column="t", split_map=ENDS), ["2013-01-01", text])


# -- by shares -------------------------------------------------------------------------------------


def test_every_split_has_its_share_of_the_rows_in_the_order_of_time(
    bench: Any, examples: Any, rows: list[dict[str, Any]]
) -> None:
    result = bench.run(TimeRatioSplit(column="distance", split_ratio=SHARES), examples=examples)
    times = sorted(row["distance"] for row in rows if row["distance"] is not None)
    assert result.splits == ("train", "eval", "test")
    parts = [
        pl.concat(result.scan(bench.files, columns=["distance"], split=name))["distance"]
        for name in result.splits
    ]
    assert sorted(itertools.chain.from_iterable(parts)) == times
    for earlier, later in itertools.pairwise(parts):
        assert earlier.max() < later.min()
    for part, share in zip(parts, SHARES.values(), strict=True):
        # No two rows have the same time here.
        assert len(part) == pytest.approx(share * len(times), abs=1)


def test_a_division_by_time_is_what_it_always_was(
    bench: Any, table: str, examples_of: Callable[..., Any]
) -> None:
    split = TimeRatioSplit(column="delay", split_ratio=SHARES)
    found = [
        names_of(bench.run(split, examples=examples_of(bench, table, size)), bench)
        for size in (300, 7)
    ]
    assert found[0] == found[1]
    digest = hashlib.sha256(",".join(map(str, found[0])).encode()).hexdigest()
    assert digest == "ed7dd6e391742dcfa1ba959e8eb3603db4295f4f91dbbce4f73632b31ffafb70"


def test_rows_of_one_time_stay_together(
    bench: Any, write: Callable[[str, str], str], examples_of: Callable[..., Any]
) -> None:
    path = write("rows.csv", "t,y\n" + "".join(f"{t},1\n" for t in [3, 1, 2, 2, 2, 2, 1, 3]))
    split = TimeRatioSplit(column="t", split_ratio={"train": 0.5, "eval": 0.5})
    result = bench.run(split, examples=examples_of(bench, path, 3))
    assert names_of(result, bench) == [
        "eval" if t > 1 else "train" for t in (3, 1, 2, 2, 2, 2, 1, 3)
    ]


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=5), st.integers(0, 10**6))
def test_cuts_are_the_nearest_to_the_shares(weights: list[float], count: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    found = cuts(shares, count)
    assert found[-1] == count
    assert found == sorted(found)
    for place, cut in enumerate(found):
        assert cut == pytest.approx(sum(shares[: place + 1]) * count, abs=0.5 + 1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "t,y\n1,1\n1,1\n1,1\n",  # one time
        "t,y\n,1\n,1\n3,1\n",  # one row that has any
    ],
)
def test_a_split_that_would_be_empty_is_an_error(
    bench: Any, write: Callable[[str, str], str], examples_of: Callable[..., Any], text: str
) -> None:
    examples = examples_of(bench, write("rows.csv", text))
    with pytest.raises(DataError, match="would have no rows"):
        bench.run(
            TimeRatioSplit(column="t", split_ratio={"train": 0.5, "eval": 0.5}), examples=examples
        )


# -- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "path", "message"),
    [
        ({"train": 1}, "split_map", "at least two splits, found 1"),
        ({"": 1, "eval": 2}, "split_map", "a split has no name"),
        ({"train": 1, "eval": 1}, "split_map.train", "ends when 'eval' does"),
        ({"train": None, "eval": None}, "split_map.train", "ends when 'eval' does"),
        ({"train": "2013", "eval": 2014}, "split_map", "some times are text"),
        ({"train": "Sep 1", "eval": None}, "split_map.train", "'Sep 1' is no time whose text"),
        ({"train": math.nan, "eval": 2014}, "split_map.train", "nan is no time"),
        ({"train": 1 << 63, "eval": 2014}, "split_map.train", "more than 64 bits"),
        ({"train": True, "eval": 2014}, "split_map", "expected"),
    ],
)
def test_ends_are_checked(ends: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TimeSplit(column="t", split_map=ends)
    assert [
        problem
        for problem in caught.value.problems
        if problem.path == path and message in problem.message
    ]


@pytest.mark.parametrize(
    ("parameters", "path", "message"),
    [
        ({"split_ratio": {"train": 0.5, "eval": 0.6}}, "split_ratio", "1.1 in sum, not 1"),
        ({"split_ratio": {"old": 0.5, "new": 0.5}}, "order", "which split is the earliest"),
        (
            {"split_ratio": {"old": 0.5, "new": 0.5}, "order": ["old", "old"]},
            "order",
            "which split is the earliest",
        ),
    ],
)
def test_shares_of_time_are_checked(parameters: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TimeRatioSplit(column="t", **parameters)
    assert [
        problem
        for problem in caught.value.problems
        if problem.path == path and message in problem.message
    ]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("distanc", "did you mean 'distance' for 'distanc'"),
        ("late", "column 'late' is of type boolean, which is no time"),
        ("distance", "of type integer, and cannot be compared with '2013'"),
    ],
)
def test_the_column_of_times_is_checked(
    bench: Any, examples: Any, column: str, message: str
) -> None:
    split = TimeSplit(column=column, split_map={"train": "2013", "eval": None})
    with pytest.raises(DataError, match=message):
        bench.run(split, examples=examples)
