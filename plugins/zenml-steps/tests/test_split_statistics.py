"""Statistics and schema of splits."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zenml.core.errors import ConfigurationError, DataError
from zenml.steps._tables import write_parquet
from zenml.steps.dataset import Column, Dataset, Shard
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import CategoricalDomainSplit, NoSplit, RandomSplit
from zenml.steps.statistics import SplitSchema, SplitStatistics

TYPES = {"x": "float", "n": "integer", "s": "string", "b": "boolean"}
DTYPES = {"x": pl.Float64, "n": pl.Int64, "s": pl.String, "b": pl.Boolean}
ROW = st.fixed_dictionaries(
    {
        "x": st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 1.5])),
        "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3)),
        "s": st.one_of(st.none(), st.text(max_size=3)),
        "b": st.one_of(st.none(), st.booleans()),
    }
)


def dataset_of(bench: Any, rows: list[dict[str, Any]], rows_per_shard: int) -> Dataset:
    shards = []
    for first in range(0, len(rows), rows_per_shard):
        part = rows[first : first + rows_per_shard]
        frame = pl.DataFrame(part, schema=DTYPES)
        shards.append(Shard(first, frame.height, {"data": write_parquet(frame, bench.files)}))
    columns = tuple(Column(name, kind, "data") for name, kind in TYPES.items())
    return Dataset(columns, tuple(shards))


def by_name(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in described["columns"]}


def check(found: dict[str, Any], values: list[Any]) -> None:
    """Compare one column with what a few plain lines say."""
    present = [value for value in values if value is not None]
    finite = [value for value in present if not isinstance(value, float) or math.isfinite(value)]
    counts = Counter(value if isinstance(value, str) else value + 0 for value in finite)
    assert (found["count"], found["nulls"]) == (len(present), len(values) - len(present))
    assert found["distinct"] == len(counts)
    top = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = top if found["type"] == "string" else top[:20]
    assert found["top"] == [list(pair) for pair in shown]
    if found["type"] in ("string", "boolean"):
        return
    assert found["nans"] == sum(isinstance(v, float) and math.isnan(v) for v in present)
    assert found["nans"] + found["infinite"] == len(present) - len(finite)
    if not finite:
        assert (found["mean"], found["min"], found["max"], found["std"]) == (None,) * 4
        assert "histogram" not in found
        return
    exact = [Fraction(value) for value in finite]
    assert found["mean"] == float(sum(exact) / len(exact))
    assert (found["min"], found["max"]) == (min(finite), max(finite))
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    if variance == 0:
        assert found["std"] == 0.0
    elif 1e-300 < variance < 1e300:
        assert found["std"] == pytest.approx(math.sqrt(variance), rel=1e-14)
    ordered = sorted(finite)
    for level, value in found["quantiles"]:
        assert value == ordered[max(math.ceil(level * len(ordered)), 1) - 1]
    assert sum(found["histogram"]["counts"]) == len(finite)


@settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(ROW, min_size=1, max_size=25), st.integers(1, 9), st.integers(0, 99))
def test_every_split_is_described_as_if_it_were_alone(
    bench: Any, rows: list[dict[str, Any]], rows_per_shard: int, seed: int
) -> None:
    split = RandomSplit(split_map={"train": 0.6, "eval": 0.4}, seed=seed)
    examples = bench.run(split, examples=dataset_of(bench, rows, rows_per_shard))
    found = bench.run(SplitStatistics(), examples=examples)
    names = split.assign(pl.DataFrame(height=len(rows)), 0).to_list()
    assert set(found["splits"]) == {"train", "eval"}
    for name, described in found["splits"].items():
        mine = [row for row, own in zip(rows, names, strict=True) if own == name]
        assert described["rows"] == len(mine)
        for column in described["columns"]:
            check(column, [row[column["name"]] for row in mine])


def test_neither_sharding_nor_order_of_units_changes_them(
    bench: Any, table: str, examples_of: Callable[..., Any]
) -> None:
    split = RandomSplit(split_map={"train": 0.6, "eval": 0.4})
    found = [
        bench.run(
            SplitStatistics(), examples=bench.run(split, examples=examples_of(bench, table, size))
        )
        for size in (300, 7, 1_000)
    ]
    assert found[0] == found[1] == found[2]


def test_all_rows_in_one_split_are_described_as_the_snapshot_is(bench: Any, table: str) -> None:
    from zenml.datasources import CSVDatasource

    data = bench.run(CSVDatasource(name="table", path=table, rows_per_shard=300))
    examples = bench.run(NoSplit(), examples=data["examples"])
    found = bench.run(SplitStatistics(), examples=examples)
    assert found == {"splits": {"nosplit": data["statistics"]}}


def test_rows_in_no_split_are_in_no_statistics(bench: Any, examples: Any) -> None:
    split = CategoricalDomainSplit(
        categorical_column="carrier", split_map={"train": ["UA"], "eval": ["AA", "none"]}
    )
    result = bench.run(split, examples=examples)
    found = bench.run(SplitStatistics(columns=["carrier"]), examples=result)["splits"]
    for name, carrier in (("train", "UA"), ("eval", "AA")):
        column = by_name(found[name])["carrier"]
        assert column["top"] == [[carrier, result.n_rows(name)]]
        assert column["nulls"] == 0


def test_a_split_without_rows_is_described(bench: Any, examples: Any) -> None:
    split = CategoricalDomainSplit(
        categorical_column="carrier", split_map={"train": ["UA"], "eval": ["none"]}
    )
    result = bench.run(split, examples=examples)
    found = bench.run(SplitStatistics(), examples=result)["splits"]["eval"]
    assert found["rows"] == 0
    for name in TYPES:
        assert name not in by_name(found)
    for column in found["columns"]:
        assert (column["count"], column["nulls"], column["distinct"]) == (0, 0, 0)
    schema = bench.run(SplitSchema(split="eval"), statistics={"splits": {"eval": found}})
    assert {column["presence"] for column in schema["columns"]} == {None}


def test_many_distinct_values_are_estimated_in_each_split(bench: Any) -> None:
    rows = [{"x": float(n), "n": 7, "s": str(n % 11_000), "b": None} for n in range(40_000)]
    examples = bench.run(NoSplit(), examples=dataset_of(bench, rows, 15_000))
    found = by_name(bench.run(SplitStatistics(), examples=examples)["splits"]["nosplit"])
    assert found["x"]["distinct"] == pytest.approx(40_000, rel=0.044)
    assert found["s"]["distinct"] == pytest.approx(11_000, rel=0.044)
    assert found["x"]["top_error"] <= 40
    assert sum(found["x"]["histogram"]["counts"]) == 40_000
    assert found["n"]["distinct"] == 1
    assert (found["b"]["count"], found["b"]["distinct"], found["b"]["mean"]) == (0, 0, None)


def test_columns_of_a_preprocesser_are_described_too(bench: Any, split_examples: Any) -> None:
    step = StandardPreprocesser(
        features=["distance", "carrier"],
        overwrite={
            "carrier": {
                "transform": [
                    "compute_and_apply_vocabulary",
                    {"method": "one_hot_encode", "parameters": {"depth": 5}},
                ]
            }
        },
    )
    examples = bench.run(step, examples=split_examples)["examples"]
    found = by_name(bench.run(SplitStatistics(), examples=examples)["splits"]["train"])
    assert found["distance_xf"]["std"] == pytest.approx(1.0, rel=1e-6)
    assert found["carrier_xf"] == {
        "name": "carrier_xf",
        "type": "float32[5]",
        "count": examples.n_rows("train"),
        "nulls": 0,
    }


def test_up_to_a_hundred_texts_are_all_listed(bench: Any) -> None:
    for number, listed in ((100, 100), (101, 20)):
        rows = [{"x": None, "n": n, "s": f"{n:03d}", "b": True} for n in range(number)]
        examples = bench.run(NoSplit(), examples=dataset_of(bench, rows, 40))
        statistics_ = bench.run(SplitStatistics(), examples=examples)
        found = by_name(statistics_["splits"]["nosplit"])
        assert (len(found["s"]["top"]), len(found["n"]["top"])) == (listed, 20)
        schema = by_name(bench.run(SplitSchema(split="nosplit"), statistics=statistics_))
        assert ("domain" in schema["s"]) == (number == 100)


def test_a_schema_says_what_the_training_split_is_like(
    bench: Any, split_examples: Any, rows: list[dict[str, Any]]
) -> None:
    described = bench.run(SplitStatistics(), examples=split_examples)
    schema = by_name(bench.run(SplitSchema(), statistics=described))
    train = pl.concat(split_examples.scan(bench.files, split="train"))
    assert schema["carrier"] == {
        "name": "carrier",
        "type": "string",
        "nullable": True,
        "presence": train["carrier"].count() / train.height,
        "domain": ["AA", "B6", "DL", "EV", "UA"],
    }
    assert schema["delay"]["min"] == train["delay"].min()
    assert schema["delay"]["max"] == train["delay"].max()
    assert schema["late"]["domain"] == [False, True]
    assert (schema["late"]["nullable"], schema["late"]["presence"]) == (False, 1.0)
    assert statistics.fmean([row["late"] for row in rows]) > 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [([], "is empty"), (["a", "a"], "names 'a' more than once")],
)
def test_columns_are_checked(columns: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SplitStatistics(columns=columns)


def test_what_cannot_be_described_is_an_error(
    bench: Any, examples: Any, split_examples: Any
) -> None:
    with pytest.raises(DataError, match="the dataset has no splits"):
        bench.run(SplitStatistics(), examples=examples)
    with pytest.raises(DataError, match="did you mean 'delay' for 'dealy'"):
        bench.run(SplitStatistics(columns=["dealy"]), examples=split_examples)
    described = bench.run(SplitStatistics(), examples=split_examples)
    with pytest.raises(DataError, match="no statistics of a split 'trian'"):
        bench.run(SplitSchema(split="trian"), statistics=described)
    with pytest.raises(DataError, match="not those of splits"):
        bench.run(SplitSchema(), statistics=described["splits"]["train"])
