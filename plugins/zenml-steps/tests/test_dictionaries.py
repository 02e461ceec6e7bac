"""Text in dictionaries is the same text, and all that is made of it is the same."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenml.datasources import CSVDatasource, FrameDatasource
from zenml.steps._applying import apply_transform
from zenml.steps._counts import count_values
from zenml.steps._dictionaries import as_text, with_dictionaries
from zenml.steps._statistics import measure, merge
from zenml.steps.dataset import read_rows
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit

FEW = ["a", "", "a", None, "b", "b", "", "a", "\0", "ä", "a", "a"] * 10
MANY = [f"value {number}" for number in range(len(FEW))]

texts = st.lists(st.none() | st.sampled_from(["", "a", "b", "ä", "a\0", "😀", "a b"]), min_size=1)


def frame_of(values: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame({"text": pl.Series(values, dtype=pl.String)})


def is_dictionary(values: list[str | None]) -> bool:
    return with_dictionaries(frame_of(values)).schema["text"] == pl.Enum


def test_text_of_few_values_becomes_a_dictionary() -> None:
    frame = pl.DataFrame({"few": FEW, "many": MANY, "number": range(len(FEW))})
    found = with_dictionaries(frame)
    assert found.schema["few"] == pl.Enum(["", "\0", "a", "b", "ä"])
    assert found.drop("few").equals(frame.drop("few"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a"], False),
        (["a"] * 4, False),
        (["a"] * 5, True),
        (["a", "b"] * 4, False),
        (["a", "b"] * 5, True),
        ([""] * 4, True),
        ([None] * 8, False),
        ([None] * 7 + ["a"], True),
        ([str(number) for number in range(600)] + ["a"] * 100_000, False),
        ([str(number) for number in range(500)] * 6, False),
        ([str(number) for number in range(500)] * 7, True),
        (["long " * 100, "longer " * 100] * 500, False),
    ],
)
def test_which_text_is_worth_it(values: list[str | None], expected: bool) -> None:
    assert is_dictionary(values) is expected


@given(texts)
def test_it_is_the_same_text(values: list[str | None]) -> None:
    frame = frame_of(values * 8)
    found = with_dictionaries(frame)
    assert as_text(found).equals(frame)
    assert as_text(found).schema == frame.schema


LONG = """
import resource
import polars as pl
from zenml.steps._dictionaries import as_text, with_dictionaries

values = pl.Series("text", ["x" * 20_000, "y" * 10_000, None])
frame = values.gather(list(range(3)) * 20_000).to_frame()
found = with_dictionaries(frame)
assert found.schema["text"] == pl.Enum
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
text = as_text(found)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert text.equals(frame)
print(after - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="tells memory as Linux does")
def test_rows_share_the_bytes_of_a_long_value() -> None:
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 << 10  # KiB; a copy for each row would take 600 MB


@given(texts)
def test_it_has_the_same_counts(values: list[str | None]) -> None:
    frame = frame_of(values * 8)
    expected = count_values(frame["text"]).sort("value")
    assert count_values(with_dictionaries(frame)["text"]).sort("value").equals(expected)


def test_values_that_no_row_has_any_longer_do_not_count() -> None:
    found = with_dictionaries(frame_of(FEW))["text"]
    assert count_values(found.filter(found == "b")).rows() == [("b", 20)]
    assert count_values(found.clear()).rows() == []


@given(texts)
def test_it_has_the_same_statistics(fresh: Any, values: list[str | None]) -> None:
    bench = fresh()
    frame = frame_of(values * 8)
    expected, found = (
        merge([measure(one, bench.files)], {"text": "string"}, bench.files)
        for one in (frame, with_dictionaries(frame))
    )
    assert found == expected


TRANSFORMS = [
    ["compute_and_apply_vocabulary"],
    [
        "compute_and_apply_vocabulary",
        {"method": "one_hot_encode", "parameters": {"depth": 2}},
    ],
    [{"method": "hash_strings", "parameters": {"hash_buckets": 5}}],
    [{"method": "tfidf", "parameters": {"vocab_size": 3}}],
    [
        {"method": "ngrams", "parameters": {"ngram_range": [1, 2]}},
        {"method": "tfidf", "parameters": {"vocab_size": 3}},
        {"method": "pca", "parameters": {"output_dim": 2}},
    ],
]


@pytest.mark.parametrize("role", ["features", "labels"])
@pytest.mark.parametrize("chain", TRANSFORMS, ids=lambda chain: str(len(chain)))
def test_it_is_transformed_as_text_is(bench: Any, chain: list[Any], role: str) -> None:
    frame = pl.DataFrame({"few": FEW, "many": MANY})
    data = bench.run(FrameDatasource(name="rows", frame=frame))["examples"]
    step = StandardPreprocesser(
        **{"features": ["many"], role: ["few"]}, overwrite={"few": {"transform": chain}}
    )
    split = RandomSplit(split_map={"train": 0.7, "eval": 0.3})
    prepared = bench.run(step, examples=bench.run(split, examples=data))
    name = "few_xf" if role == "features" else "few_xl"
    [found] = prepared["examples"].scan(bench.files, columns=[name])
    unit = data.unit(data.shards[0])
    assert read_rows(unit, bench.files, dictionaries=True).schema["few"] == pl.Enum
    expected = apply_transform(prepared["transform"], read_rows(unit, bench.files))
    assert found.equals(expected.select(name))
    assert found.schema == expected.select(name).schema


def test_who_reads_rows_reads_text(bench: Any, write: Any) -> None:
    lines = [f"{few or ''},{many}" for few, many in zip(FEW, MANY, strict=True)]
    source = CSVDatasource(
        name="rows",
        path=write("rows.csv", "few,many\n" + "\n".join(lines) + "\n"),
        rows_per_shard=50,
        null_values=[],
    )
    data = bench.run(source)["examples"]
    assert data.head(bench.files, 60).schema == {"few": pl.String, "many": pl.String}
    for frame in data.scan(bench.files, columns=["few"]):
        assert frame.schema == {"few": pl.String}
    stored = [pl.read_parquet(bench.files.fetch(shard.files["data"])) for shard in data.shards]
    assert [frame.schema["few"] == pl.Enum for frame in stored] == [True, True, False]


def test_more_values_than_rows_are_looked_at_row_by_row() -> None:
    transform = {
        "columns": [
            {
                "column": "text",
                "role": "feature",
                "type": "string",
                "output": "text_xf",
                "filling": "",
                "steps": [{"method": "compute_and_apply_vocabulary", "vocabulary": ["b", ""]}],
            }
        ]
    }
    series = pl.Series("text", ["b", None, "c"], dtype=pl.Enum(["a", "b", "c", "d"]))
    assert apply_transform(transform, series.to_frame())["text_xf"].to_list() == [0, 1, -1]
