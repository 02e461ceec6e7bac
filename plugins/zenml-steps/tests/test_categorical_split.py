"""Splits by the values of one column."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenml.core.errors import ConfigurationError, DataError
from zenml.steps.dataset import SPLIT_PART
from zenml.steps.split import CategoricalDomainSplit, CategoricalRatioSplit, NoSplit

DOMAINS: dict[str, Any] = {"train": ["UA", "AA"], "eval": ["B6"]}
CARRIERS = ["UA", "AA", "B6", "DL", "EV"]
MANY = [f"category {number}" for number in range(1_000)]


def by_domain(**parameters: Any) -> CategoricalDomainSplit:
    return CategoricalDomainSplit(
        **{"categorical_column": "carrier", "split_map": DOMAINS, **parameters}
    )


def by_ratio(**parameters: Any) -> CategoricalRatioSplit:
    defaults = {"categories": CARRIERS, "split_ratio": {"train": 0.6, "eval": 0.4}}
    return CategoricalRatioSplit(**{"categorical_column": "carrier", **defaults, **parameters})


def carriers(bench: Any, dataset: Any, split: str) -> Counter[str | None]:
    frame = pl.concat(dataset.scan(bench.files, columns=["carrier"], split=split))
    return Counter(frame["carrier"].to_list())


def digest(names: list[Any]) -> str:
    return hashlib.sha256(",".join(map(str, names)).encode()).hexdigest()


# -- by domain -------------------------------------------------------------------------------------


def test_each_split_has_the_categories_that_it_was_given(
    bench: Any, examples: Any, rows: list[dict[str, Any]]
) -> None:
    result = bench.run(by_domain(), examples=examples)
    all_rows = Counter(row["carrier"] for row in rows)
    assert result.splits == ("eval", "train")
    for name, categories in DOMAINS.items():
        assert carriers(bench, result, name) == {item: all_rows[item] for item in categories}


def test_other_categories_and_missing_ones_can_be_given_a_split(
    bench: Any, examples: Any, rows: list[dict[str, Any]]
) -> None:
    result = bench.run(by_domain(unknown_category_policy="eval"), examples=examples)
    all_rows = Counter(row["carrier"] for row in rows)
    assert carriers(bench, result, "eval") == {
        item: all_rows[item] for item in ("B6", "DL", "EV", None)
    }


def test_a_split_may_take_nothing_but_what_is_unknown() -> None:
    split = by_domain(split_map={"train": ["UA"], "rest": []}, unknown_category_policy="rest")
    assert split.assign(pl.DataFrame({"carrier": ["UA", "DL", None]}), 0).to_list() == [
        "train",
        "rest",
        "rest",
    ]


@pytest.mark.parametrize(
    ("values", "domains"),
    [
        ([1, 2, None], {"train": [1], "eval": [2]}),
        ([True, False, None], {"a": [True], "b": [False]}),
    ],
)
def test_integers_and_booleans_are_categories_too(values: Any, domains: Any) -> None:
    split = CategoricalDomainSplit(categorical_column="x", split_map=domains)
    first, second = domains
    assert split.assign(pl.DataFrame({"x": values}), 0).to_list() == [first, second, None]


def test_a_category_that_no_row_has_leaves_its_split_empty(bench: Any, examples: Any) -> None:
    result = bench.run(
        by_domain(split_map={"train": CARRIERS, "eval": ["none"]}), examples=examples
    )
    assert result.n_rows("eval") == 0
    assert pl.concat(result.scan(bench.files, split="eval")).height == 0


def test_neither_categorical_split_copies_rows(bench: Any, examples: Any) -> None:
    for split in (by_domain(), by_ratio(), NoSplit()):
        result = bench.run(split, examples=examples)
        for before, after in zip(examples.shards, result.shards, strict=True):
            assert after.files == {**before.files, SPLIT_PART: after.files[SPLIT_PART]}


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=30),
    st.dictionaries(st.text(max_size=3), st.sampled_from(["a", "b"]), min_size=1, max_size=8),
    st.sampled_from(["skip", "a", "b"]),
)
def test_every_row_goes_where_its_category_belongs(
    values: list[str | None], split_of: dict[str, str], policy: str
) -> None:
    split_map: dict[str, list[str]] = {"a": [], "b": []}
    for category, name in split_of.items():
        split_map[name].append(category)
    if any(not categories and name != policy for name, categories in split_map.items()):
        return
    split = CategoricalDomainSplit(
        categorical_column="x", split_map=split_map, unknown_category_policy=policy
    )
    found = split.assign(pl.DataFrame({"x": pl.Series(values, dtype=pl.String)}), 0).to_list()
    other = None if policy == "skip" else policy
    assert found == [other if v is None else split_of.get(v, other) for v in values]


# -- by ratio --------------------------------------------------------------------------------------


def test_categories_are_divided_by_shares_and_stay_whole(bench: Any, examples: Any) -> None:
    result = bench.run(by_ratio(), examples=examples)
    train, evaluation = (set(carriers(bench, result, name)) for name in ("train", "eval"))
    assert (len(train), len(evaluation)) == (3, 2)
    assert train | evaluation == set(CARRIERS)


def test_a_division_is_what_it_always_was() -> None:
    split = by_ratio(categories=MANY, split_ratio={"train": 0.7, "eval": 0.2, "test": 0.1}, seed=5)
    names = split.assign(pl.DataFrame({"carrier": MANY}), 0).to_list()
    assert Counter(names) == {"train": 700, "eval": 200, "test": 100}
    assert digest(names) == "63fb9afab6ae3c69975a6aef963e1b7e9e7b629327dd779e30ddc7958fab9477"


def test_a_division_does_not_depend_on_the_order_in_which_it_is_written() -> None:
    frame = pl.DataFrame({"carrier": MANY})
    ratio = {"train": 0.7, "eval": 0.3}
    found = by_ratio(categories=MANY, split_ratio=ratio).assign(frame, 0)
    turned = by_ratio(categories=MANY[::-1], split_ratio=dict(reversed(ratio.items())))
    assert turned.assign(frame, 0).equals(found)
    assert not turned.replace(seed=1).assign(frame, 0).equals(found)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-99, 99), min_size=2, max_size=40, unique=True),
    st.integers(1, 99),
    st.integers(0, 9),
)
def test_every_split_has_its_share_of_the_categories(
    categories: list[int], percent: int, seed: int
) -> None:
    ratio = {"train": percent / 100, "eval": 1 - percent / 100}
    exact = len(categories) * percent / 100
    try:
        split = CategoricalRatioSplit(
            categorical_column="x", categories=categories, split_ratio=ratio, seed=seed
        )
    except ConfigurationError:
        assert min(exact, len(categories) - exact) <= 0.5
        return
    counts = Counter(split.assign(pl.DataFrame({"x": categories}), 0).to_list())
    assert set(counts) == {"train", "eval"}
    assert abs(counts["train"] - exact) <= 0.5


# -- no split --------------------------------------------------------------------------------------


def test_without_a_split_every_row_is_in_one(bench: Any, examples: Any) -> None:
    result = bench.run(NoSplit(), examples=examples)
    assert (result.splits, result.n_rows("nosplit")) == (("nosplit",), 1_000)


# -- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "path", "message"),
    [
        ({"split_map": {}}, "split_map", "at least two splits, found 0"),
        ({"split_map": {"a": ["x"]}}, "split_map", "at least two splits, found 1"),
        ({"split_map": {"a": ["x"], "b": []}}, "split_map.b", "has no category"),
        ({"split_map": {"a": ["x"], "": ["y"]}}, "split_map", "a split has no name"),
        ({"split_map": {"a": ["x"], "skip": ["y"]}}, "split_map", "'skip' stands for no split"),
        ({"split_map": {"a": ["x"], "b": ["x"]}}, "split_map.b", "'x' is in split_map.a already"),
        ({"split_map": {"a": ["x", "x"], "b": ["y"]}}, "split_map.a", "'x' is in split_map.a"),
        ({"split_map": {"a": ["1"], "b": [1]}}, "split_map.a", "of several types: str in"),
        ({"split_map": {"a": [True], "b": [1]}}, "split_map.a", "of several types: bool in"),
        ({"split_map": {"a": [1.5], "b": [1]}}, "split_map", "expected"),
        ({"split_map": {"a": [1 << 63], "b": [1]}}, "split_map.a", "more than 64 bits"),
        ({"unknown_category_policy": "tain"}, "unknown_category_policy", "no such split: 'tain'"),
        ({"categorical_colum": "x"}, "categorical_colum", "no such parameter"),
    ],
)
def test_domains_are_checked(parameters: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        by_domain(**parameters)
    assert [
        problem
        for problem in caught.value.problems
        if problem.path == path and message in problem.message
    ]


@pytest.mark.parametrize(
    ("parameters", "path", "message"),
    [
        ({"split_ratio": {"train": 1.0}}, "split_ratio", "at least two splits"),
        ({"split_ratio": {"train": 0.5, "eval": 0.4}}, "split_ratio", "0.9 in sum, not 1"),
        ({"categories": ["a", "b", "a"]}, "categories[2]", "'a' is in categories[0] already"),
        ({"categories": ["a"]}, "split_ratio.eval", "its share of 1 categories is none of them"),
        ({"categories": []}, "split_ratio.train", "its share of 0 categories is none of them"),
        ({"unknown_category_policy": "test"}, "unknown_category_policy", "no such split: 'test'"),
    ],
)
def test_ratios_are_checked(parameters: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        by_ratio(**parameters)
    assert [
        problem
        for problem in caught.value.problems
        if problem.path == path and message in problem.message
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"categorical_column": "carier"}, "did you mean 'carrier' for 'carier'"),
        ({"categorical_column": "delay"}, "column 'delay' is of type float"),
        ({"categorical_column": "distance"}, "write the categories as integers"),
        ({"categorical_column": "late"}, "write the categories as booleans"),
    ],
)
def test_the_column_is_checked_before_any_row_is_read(
    bench: Any, examples: Any, parameters: dict[str, Any], message: str
) -> None:
    units = bench.units
    for split in (by_domain(**parameters), by_ratio(**parameters)):
        with pytest.raises(DataError, match=message):
            bench.run(split, examples=examples)
    assert bench.units == units
