"""Which rows go into which split."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.steps._splitting import random_bits
from zenml.steps.dataset import SPLIT_PART
from zenml.steps.split import BaseSplit, RandomSplit

SHARES = {"train": 0.7, "eval": 0.2, "test": 0.1}


class SplitByDistance(BaseSplit):
    border: int = 500

    def get_split_names(self) -> list[str]:
        return ["near", "far"]

    def reads(self) -> list[str]:
        return ["distance"]

    def assign(self, frame: pl.DataFrame, first_row: int) -> pl.Series:
        assert frame.columns == ["distance"]
        return (frame["distance"] < self.border).replace_strict({True: "near", False: "far"})


class SplitByIndex(BaseSplit):
    def get_split_names(self) -> list[str]:
        return ["even", "odd"]

    def assign(self, frame: pl.DataFrame, first_row: int) -> list[str | None]:
        assert len(frame.columns) == 5
        rows = range(first_row, first_row + frame.height)
        return [None if row == 0 else ("odd" if row % 2 else "even") for row in rows]


class WrongSplit(BaseSplit):
    mistake: str

    def get_split_names(self) -> list[str]:
        return ["train", "train"] if self.mistake == "names" else ["train", "eval"]

    def assign(self, frame: pl.DataFrame, first_row: int) -> list[str]:
        if self.mistake == "rows":
            return ["train"]
        return ["trian"] * frame.height


def splits_of(dataset: Any, bench: Any) -> list[int | None]:
    frames = (pl.read_parquet(bench.files.fetch(s.files[SPLIT_PART])) for s in dataset.shards)
    return list(itertools.chain.from_iterable(frame["split"].to_list() for frame in frames))


def test_random_bits_are_what_they_always_were() -> None:
    digest = hashlib.sha256(random_bits(7, 0, 10_000).tobytes()).hexdigest()
    assert digest == "57076e5980f8653449c57feca0299bb69b9e97e965fa35ab9db6c3796789de05"


def test_an_assignment_is_what_it_always_was() -> None:
    frame = pl.DataFrame(height=10_000)
    names = RandomSplit(split_map=SHARES, seed=7).assign(frame, 123).to_list()
    assert (
        hashlib.sha256(",".join(names).encode()).hexdigest()
        == "7de1bee7bbea9eb02ea3de4449a483c4b7fe979d9a17cb5705064c0db6df47bf"
    )


def test_rows_are_assigned_by_shares() -> None:
    names = RandomSplit(split_map=SHARES).assign(pl.DataFrame(height=1_000_000), 0)
    counts = dict(names.cast(pl.String).value_counts().iter_rows())
    for name, share in SHARES.items():
        # Four standard deviations of a binomial distribution.
        assert counts[name] == pytest.approx(
            share * 1e6, abs=4 * (1e6 * share * (1 - share)) ** 0.5
        )


def test_random_bits_look_random() -> None:
    bits = random_bits(0, 0, 1 << 16)
    ones = np.unpackbits(bits.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 / 2 / 2**8
    assert len(np.unique(bits)) == len(bits)
    other = random_bits(1, 0, 1 << 16)
    agreement = np.unpackbits((bits ^ other).view(np.uint8)).mean()
    assert agreement == pytest.approx(0.5, abs=0.001)
    assert not np.isin(other, bits).any()


def test_an_assignment_does_not_depend_on_the_division_into_frames() -> None:
    split = RandomSplit(split_map=SHARES, seed=3)
    whole = split.assign(pl.DataFrame(height=1_000), 0).to_list()
    parts = [
        split.assign(pl.DataFrame(height=100), first).to_list() for first in range(0, 1_000, 100)
    ]
    assert list(itertools.chain.from_iterable(parts)) == whole


def test_an_assignment_depends_on_nothing_but_seed_and_shares(
    bench: Any, table: str, examples_of: Callable[..., Any]
) -> None:
    coarse, fine = examples_of(bench, table, 300), examples_of(bench, table, 7)
    split = RandomSplit(split_map=SHARES, seed=3)
    turned = RandomSplit(split_map=dict(reversed(SHARES.items())), seed=3)
    other = RandomSplit(split_map=SHARES, seed=4)
    expected = splits_of(bench.run(split, examples=coarse), bench)
    assert splits_of(bench.run(split, examples=fine), bench) == expected
    assert splits_of(bench.run(turned, examples=coarse), bench) == expected
    assert splits_of(bench.run(other, examples=coarse), bench) != expected


def test_a_split_copies_no_rows(bench: Any, examples: Any) -> None:
    result = bench.run(RandomSplit(split_map=SHARES), examples=examples)
    for before, after in zip(examples.shards, result.shards, strict=True):
        assert after.files["data"] == before.files["data"]
        assert set(after.files) == {"data", SPLIT_PART}
    assert result.columns == examples.columns
    assert result.splits == ("eval", "test", "train")


def test_splits_are_counted_and_can_be_read_one_by_one(bench: Any, split_examples: Any) -> None:
    assert sum(split_examples.n_rows(name) for name in split_examples.splits) == 1_000
    whole = pl.concat(split_examples.scan(bench.files))
    codes = splits_of(split_examples, bench)
    for place, name in enumerate(split_examples.splits):
        part = pl.concat(split_examples.scan(bench.files, split=name))
        assert part.equals(whole.filter(pl.Series(codes) == place))
        assert part.height == split_examples.n_rows(name)


def test_a_split_of_one_s_own_sees_the_columns_that_it_asks_for(bench: Any, examples: Any) -> None:
    result = bench.run(SplitByDistance(border=250), examples=examples)
    assert result.splits == ("near", "far")
    near = pl.concat(result.scan(bench.files, split="near", columns=["distance"]))
    assert near["distance"].max() < 250
    # A row whose distance is missing is in no split.
    missing = sum(1 for row in range(1_000) if row % 97 == 0)
    assert result.n_rows("near") + result.n_rows("far") == 1_000 - missing


def test_a_split_of_one_s_own_sees_global_row_indices(bench: Any, examples: Any) -> None:
    result = bench.run(SplitByIndex(), examples=examples)
    assert (result.n_rows("even"), result.n_rows("odd")) == (499, 500)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("names", "the splits need different names"),
        ("rows", "was given 100 rows and returned 1 assignments"),
        ("spelling", "what is no split: 'trian'"),
    ],
)
def test_a_wrong_split_is_told_what_is_wrong(
    bench: Any, examples: Any, mistake: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        bench.run(WrongSplit(mistake=mistake), examples=examples)


@pytest.mark.parametrize(
    ("shares", "path", "message"),
    [
        ({}, "split_map", "at least two splits, found 0"),
        ({"train": 1.0}, "split_map", "at least two splits, found 1"),
        ({"train": 0.5, "eval": 0.2}, "split_map", "0.7 in sum, not 1"),
        ({"train": 1.5, "eval": -0.5}, "split_map.eval", "a share above 0, found -0.5"),
        ({"train": 1.0, "eval": 0}, "split_map.eval", "a share above 0, found 0"),
        ({"train": float("nan"), "eval": 1}, "split_map.train", "a share above 0, found nan"),
        ({"train": "0.5", "eval": 0.5}, "split_map", "expected float"),
    ],
)
def test_shares_are_checked(shares: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RandomSplit(split_map=shares)
    assert [
        problem
        for problem in caught.value.problems
        if problem.path == path and message in problem.message
    ]
