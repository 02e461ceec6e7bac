"""Data of hostile sizes: very many columns and categories, one row, no rows, the same row always.

Memory is bounded by the shard, so a process of its own says what it took at most. The default sizes
are small enough for every day; ``pytest --full-size`` takes ten million categories.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from zenml.core.errors import DataError
from zenml.datasources import CSVDatasource, FrameDatasource
from zenml.steps.anomalies import Anomalies
from zenml.steps.preprocesser import StandardPreprocesser, apply
from zenml.steps.split import CategoricalDomainSplit, NoSplit, RandomSplit
from zenml.steps.statistics import SplitSchema, SplitStatistics

# -- categories ------------------------------------------------------------------------------------

#: Prints what came of it, with seconds and the peak of the resident memory, in MiB, of each stage.
CATEGORIES = """
import importlib.util, json, sys, time
from pathlib import Path

spec = importlib.util.spec_from_file_location("bench", sys.argv[1])
bench_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench_module)
bench = bench_module.Workbench(Path(sys.argv[2]) / "store")
number = int(sys.argv[3])

from zenml.core.errors import DataError
from zenml.datasources import CSVDatasource
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import NoSplit
from zenml.steps.statistics import SplitStatistics

path = Path(sys.argv[2]) / "categories.csv"
with path.open("w") as file:
    file.write("category,often\\n")
    for start in range(0, number, 100_000):
        # Neighbours are far from each other, and every category is there once.
        ids = (place * 7_919 % number for place in range(start, min(start + 100_000, number)))
        file.write("".join(f"user-{id:08},{'yes' if id % 3 else 'no'}\\n" for id in ids))

report = {}
def peak():
    # In MiB. Not getrusage(), which begins with what the process that started this one held.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

def stage(name, work):
    begun = time.perf_counter()
    result = work()
    report[name] = {"seconds": round(time.perf_counter() - begun, 1), "peak": peak()}
    return result

def prepare(transform):
    step = StandardPreprocesser(
        features=["category", "often"],
        overwrite={"category": {"transform": transform}},
        split_mapping={"train_splits": ["nosplit"]},
    )
    return bench.run(step, examples=split)

data = stage("snapshot", lambda: bench.run(CSVDatasource(name="users", path=str(path))))
split = bench.run(NoSplit(), examples=data["examples"])
described = stage("statistics", lambda: bench.run(SplitStatistics(), examples=split))
try:
    stage("vocabulary", lambda: prepare("compute_and_apply_vocabulary"))
    report["refused"] = None
except DataError as error:
    report["refused"] = str(error)
hashing = {"method": "hash_strings", "parameters": {"hash_buckets": 1_000}}
prepared = stage("hashing", lambda: prepare(hashing))
report["rows"] = prepared["examples"].n_rows()
report["columns"] = data["statistics"]["columns"]
report["split"] = described["splits"]["nosplit"]["columns"]
report["peak"] = peak()
print(json.dumps(report))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells memory as Linux does")
def test_very_many_categories_take_the_memory_of_a_shard(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    number = 10_000_000 if request.config.getoption("--full-size", default=False) else 1_100_000
    conftest = str(Path(__file__).with_name("conftest.py"))
    done = subprocess.run(
        [sys.executable, "-c", CATEGORIES, conftest, str(tmp_path), str(number)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    columns, split = report.pop("columns"), report.pop("split")
    print(number, json.dumps(report))

    assert report["rows"] == number
    assert columns == split
    categories, often = columns
    assert categories["count"] == number
    assert abs(categories["distinct"] - number) <= 4 * categories["distinct_error"] * number
    assert categories["top_error"] <= number / 1_000
    assert categories["length"] == {"min": 13, "max": 13, "mean": 13.0}
    no = (number + 2) // 3
    assert often["top"] == [["yes", number - no], ["no", no]]
    assert "more than 1,000,000 different values" in report["refused"]
    assert "hash_strings" in report["refused"]
    # As much for ten million as for one; all at once, as Python has text, would be much more.
    assert report["peak"] < 500


# -- columns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "frame"])
def test_thousands_of_columns_go_all_the_way(
    kind: str, fresh: Callable[[], Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # Finding out types takes more time than all the rest.
    whole = kind == "frame" or request.config.getoption("--full-size", default=False)
    number = 5_000 if whole else 1_000
    names = [f"c{place}" for place in range(number)]
    rows = [
        [
            None
            if (place + row) % 7 == 0
            else [row * place % 97, f"v{row % 3}", row / 4][place % 3]
            for place in range(number)
        ]
        for row in range(6)
    ]
    bench = fresh()
    frame = pl.DataFrame(rows, schema=names, orient="row")
    if kind == "csv":
        frame.write_csv(tmp_path / "wide.csv")
        data = bench.run(CSVDatasource(name="wide", path=str(tmp_path / "wide.csv")))
    else:
        data = bench.run(FrameDatasource(name="wide", frame=frame))
    examples = data["examples"]
    assert list(examples.schema) == names
    described = data["statistics"]["columns"]
    for place in range(0, number, 101):
        values = [row[place] for row in rows if row[place] is not None]
        assert described[place]["count"] == len(values)
        if place % 3 != 1:
            assert (described[place]["min"], described[place]["max"]) == (min(values), max(values))

    split = bench.run(NoSplit(), examples=examples)
    step = StandardPreprocesser(labels=["c0"], split_mapping={"train_splits": ["nosplit"]})
    outputs = bench.run(step, examples=split)
    assert len(outputs["examples"].schema) == 2 * number
    found = next(iter(outputs["examples"].scan(bench.files, columns=["c1_xf", "c996_xf"])))
    assert found["c1_xf"].to_list() == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]
    # The largest value stands for the missing one.
    given = [row[996] for row in rows]
    largest = max(value for value in given if value is not None)
    filled = [largest if value is None else value for value in given]
    mean, deviation = statistics.fmean(filled), statistics.pstdev(filled)
    scaled = [(value - mean) / deviation for value in filled]
    assert found["c996_xf"].to_list() == pytest.approx(scaled, rel=1e-6)
    assert [column["output"] for column in outputs["transform"]["columns"]][-1] == "c0_xl"


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"i": 1, "f": 0.5, "s": "a", "b": True},
        {"i": None, "f": None, "s": None, "b": None},
        {"i": -(2**63), "f": float("nan"), "s": "", "b": False},
    ],
    ids=["values", "nulls", "strange"],
)
def test_a_single_row_goes_all_the_way(row: dict[str, Any], bench: Any) -> None:
    schema = {"i": pl.Int64, "f": pl.Float64, "s": pl.String, "b": pl.Boolean}
    examples = bench.run(FrameDatasource(name="one", frame=pl.DataFrame([row], schema=schema)))
    split = bench.run(
        RandomSplit(split_map={"train": 1 - 1e-9, "eval": 1e-9}), examples=examples["examples"]
    )
    described = bench.run(SplitStatistics(), examples=split)
    assert [part["rows"] for part in described["splits"].values()] == [0, 1]
    anomalies = bench.run(Anomalies(), statistics=described)["splits"]["eval"]
    assert [anomaly["kind"] for anomaly in anomalies] == ["no_rows"]
    schema_of_train = bench.run(SplitSchema(), statistics=described)
    assert [column["nullable"] for column in schema_of_train["columns"]] == [
        value is None for value in row.values()
    ]
    outputs = bench.run(StandardPreprocesser(), examples=split)
    found = next(iter(outputs["examples"].scan(bench.files, split="train")))
    # One value has no scale, and is the most frequent one.
    assert found.select("i_xf", "f_xf", "s_xf").rows() == [(0.0, 0.0, 0.0)]
    assert next(iter(outputs["examples"].scan(bench.files, split="eval"))).height == 0
    assert apply(outputs["transform"], found).rows() == found.select(pl.col("^.*_xf$")).rows()


def test_a_split_without_rows_is_described_and_not_trained_on(bench: Any) -> None:
    frame = pl.DataFrame({"s": ["a", "b"] * 50, "x": [1.5] * 100})
    examples = bench.run(FrameDatasource(name="rows", frame=frame, rows_per_shard=7))["examples"]
    step = CategoricalDomainSplit(
        categorical_column="s", split_map={"train": ["z"], "eval": ["a", "b"]}
    )
    split = bench.run(step, examples=examples)
    described = bench.run(SplitStatistics(), examples=split)
    empty = described["splits"]["train"]
    assert empty["rows"] == 0
    assert [(column["count"], column["distinct"]) for column in empty["columns"]] == [(0, 0)] * 2
    with pytest.raises(DataError, match="the baseline has no rows"):
        bench.run(Anomalies(), statistics=described)
    with pytest.raises(DataError, match="there are no training rows: train holds none of 100"):
        bench.run(StandardPreprocesser(), examples=split)
    mapping = {"train_splits": ["eval"]}
    outputs = bench.run(StandardPreprocesser(split_mapping=mapping), examples=split)
    assert pl.concat(list(outputs["examples"].scan(bench.files, split="train"))).height == 0


def test_the_same_row_always_is_one_value(bench: Any) -> None:
    frame = pl.DataFrame({"f": [0.1] * 50_000, "s": ["é"] * 50_000, "i": [2**53 + 1] * 50_000})
    data = bench.run(FrameDatasource(name="same", frame=frame, rows_per_shard=20_000))
    number, text, integer = data["statistics"]["columns"]
    assert (number["mean"], number["std"], number["distinct"]) == (0.1, 0.0, 1)
    assert (integer["mean"], integer["std"]) == (float(2**53 + 1), 0.0)
    assert text["top"] == [["é", 50_000]]
    split = bench.run(RandomSplit(split_map={"train": 0.5, "eval": 0.5}), examples=data["examples"])
    outputs = bench.run(StandardPreprocesser(), examples=split)
    for shard in outputs["examples"].scan(bench.files, columns=["f_xf", "s_xf", "i_xf"]):
        assert shard.unique().rows() == [(0.0, 0.0, 0.0)]
    anomalies = bench.run(Anomalies(), statistics=bench.run(SplitStatistics(), examples=split))
    assert anomalies["splits"] == {"eval": []}
