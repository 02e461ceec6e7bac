"""Datasets: rows in shards, columns in parts, nothing copied."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from zenml.core.errors import DataError
from zenml.steps._tables import write_parquet


def test_what_a_dataset_says_of_itself(examples: Any) -> None:
    assert examples.n_rows() == 1_000
    assert [(shard.first_row, shard.rows) for shard in examples.shards] == [
        (0, 300),
        (300, 300),
        (600, 300),
        (900, 100),
    ]
    assert examples.schema == {
        "distance": "integer",
        "delay": "float",
        "carrier": "string",
        "weekend": "boolean",
        "late": "boolean",
    }
    assert examples.splits == ()


def test_rows_come_back_in_order(bench: Any, examples: Any, rows: list[dict[str, Any]]) -> None:
    assert pl.concat(examples.scan(bench.files)).to_dicts() == rows
    assert examples.frame(examples.shards[3], bench.files).to_dicts() == rows[900:]


def test_columns_come_in_the_order_that_was_asked_for(bench: Any, examples: Any) -> None:
    frame = examples.frame(examples.shards[0], bench.files, columns=["late", "distance"])
    assert frame.columns == ["late", "distance"]
    nothing = examples.frame(examples.shards[0], bench.files, columns=[])
    assert nothing.height == 300


def test_a_part_adds_columns_and_copies_none(bench: Any, split_examples: Any) -> None:
    blobs = [
        write_parquet(
            pl.DataFrame({"row": range(shard.first_row, shard.first_row + shard.rows)}), bench.files
        )
        for shard in split_examples.shards
    ]
    wider = split_examples.with_part("numbers", {"row": "integer"}, blobs)
    assert list(wider.schema) == [*split_examples.schema, "row"]
    rows = pl.concat(wider.scan(bench.files, columns=["row", "late"]))
    assert rows["row"].to_list() == list(range(1_000))
    train = pl.concat(wider.scan(bench.files, columns=["row"], split="train"))
    assert train.height == wider.n_rows("train") == split_examples.n_rows("train")
    # A part of the same name takes the place of the first; one with equal columns, of these.
    again = wider.with_part("numbers", {"other": "integer"}, blobs)
    assert list(again.schema) == [*split_examples.schema, "other"]
    instead = wider.with_part("more", {"row": "integer"}, blobs)
    assert set(instead.shards[0].files) == {"data", "split", "more"}
    alone = wider.with_part("more", {"row": "integer"}, blobs, keep=False)
    assert list(alone.schema) == ["row"]
    assert set(alone.shards[0].files) == {"split", "more"}


def test_the_first_rows_are_read_from_no_more_shards_than_hold_them(
    bench: Any, split_examples: Any
) -> None:
    rows = pl.concat(split_examples.scan(bench.files))
    for count in (0, 1, 300, 301, 5_000):
        assert split_examples.head(bench.files, count).equals(rows.head(count))
    some = split_examples.head(bench.files, 250, columns=["delay"], split="train")
    train = pl.concat(split_examples.scan(bench.files, columns=["delay"], split="train"))
    assert some.equals(train.head(250))

    for blob in split_examples.shards[1].files.values():
        bench.files.fetch(blob).unlink()
    assert split_examples.head(bench.files, 300).equals(rows.head(300))


def test_unknown_names_are_answered_with_the_nearest(bench: Any, split_examples: Any) -> None:
    with pytest.raises(DataError, match="no column 'distanec'") as caught:
        list(split_examples.scan(bench.files, columns=["distanec"]))
    assert caught.value.remedy == "did you mean 'distance' for 'distanec'?"
    with pytest.raises(DataError, match="no split 'trian'") as caught:
        split_examples.n_rows("trian")
    assert caught.value.remedy == "did you mean 'train' for 'trian'?"


def test_a_dataset_without_splits_says_so(examples: Any) -> None:
    with pytest.raises(DataError, match="no split 'train'") as caught:
        examples.n_rows("train")
    assert caught.value.remedy == "add a split step before this one"


def test_a_shard_of_another_dataset_is_refused(bench: Any, examples: Any) -> None:
    blobs = [
        write_parquet(pl.DataFrame({"zeros": [0] * shard.rows}), bench.files)
        for shard in examples.shards
    ]
    wider = examples.with_part("zeros", {"zeros": "integer"}, blobs)
    with pytest.raises(DataError, match="not one of this dataset"):
        wider.frame(examples.shards[0], bench.files)
