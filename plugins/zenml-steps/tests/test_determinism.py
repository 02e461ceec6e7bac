"""Equal rows give equal bytes: any number of threads, any process, any day."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

#: Content, whatever wrote it. These may change only together with the format's number.
GOLDEN_CONTENT = {
    "snapshot": "1be952c0e6e30a1cbcda53a36e23650a04bbe6237db7f8a32ff634d192ff21a9",
    "statistics": "15249c84428df423bca2524f523a0d3341d7b552cd880836e5af9ad5acf42fb9",
    "split": "8202d257450c1ab38dfa74fb11512b8e63cf10443eddbd7695271de05377533a",
    "split by time": "58e3f8a8256f9a2805a73c70c2836ff782384e3d9bd3a4df94ccd2ebd66d3c79",
    "split statistics": "5480c8be598d314fde3676b442e506f165d37e150e183a36c88d933f8413a151",
    "transform": "f0e35bf7c577414dcc8b55e1fb41962fea29b29e57bda8b6400ef6c54358b145",
    "transformed": "9b74373de55a712af359307c066626aea423e7a2b7d3837aad8db64452a8b807",
}
#: Bytes, which Polars' version is part of.
GOLDEN_BYTES = {
    "snapshot": "b2e0e703f9fe7ee6582c4f7ec25f861d7e897fdfe85807708667b6817291fc9d",
    "split": "789cdf2a2a73c74947e652d88164035772171967f97c38f7a503ff05115a059a",
    "transformed": "5e8ee541c4f35772af6794c6d120739624b999d5a8c57f077c4c369a4f9275e5",
}
WRITTEN_BY = "2.1.0"

# The work is done in processes of its own, since Polars reads its settings when it is imported.
PROGRAM = """
import hashlib, importlib.util, json, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("bench", sys.argv[1])
bench_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench_module)
bench = bench_module.Workbench(Path(sys.argv[3]))

import polars as pl
from zenml.datasources import CSVDatasource
from zenml.steps.formats import DatasetFormat
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit, TimeRatioSplit
from zenml.steps.statistics import SplitStatistics

def content(dataset, split_part=False):
    hasher = hashlib.sha256()
    for frame in dataset.scan(bench.files):
        hasher.update(json.dumps(frame.to_dict(as_series=False)).encode())
    for shard in dataset.shards:
        hasher.update(json.dumps(shard.split_rows).encode())
    return hasher.hexdigest()

def plain(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

data = bench.run(CSVDatasource(name="rows", path=sys.argv[2], rows_per_shard=20_000))
split = bench.run(
    RandomSplit(split_map={"train": 0.7, "eval": 0.2, "test": 0.1}, seed=5),
    examples=data["examples"],
)
step = StandardPreprocesser(
    labels=["late"],
    overwrite={
        "hour": {"transform": {"method": "bucketize", "parameters": {"num_buckets": 5}}},
        "tail": {"transform": {"method": "hash_strings", "parameters": {"hash_buckets": 50}}},
    },
)
prepared = bench.run(step, examples=split)
by_time = bench.run(
    TimeRatioSplit(column="delay", split_ratio={"train": 0.7, "eval": 0.3}),
    examples=data["examples"],
)
datasets = {"snapshot": data["examples"], "split": split, "transformed": prepared["examples"]}
print(json.dumps({
    "threads": pl.thread_pool_size(),
    "content": {
        **{name: content(dataset) for name, dataset in datasets.items()},
        "statistics": plain(data["statistics"]),
        "split by time": content(by_time),
        "split statistics": plain(bench.run(SplitStatistics(), examples=split)),
        "transform": plain(prepared["transform"]),
    },
    "bytes": {
        name: bench.store(dataset, DatasetFormat()).digest for name, dataset in datasets.items()
    },
}))
"""


@pytest.fixture(scope="module")
def big_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70,000 rows: enough for Polars to use all its threads."""
    path = tmp_path_factory.mktemp("input") / "big.csv"
    lines = ["distance,delay,hour,carrier,tail,note,late"]
    for number in range(70_000):
        mixed = number * 2654435761 % 2**32
        delay = "NA" if mixed % 50 == 0 else repr(mixed % 30_011 / 7 - 300)
        note = f'"row {number}, ""quoted""\n"' if number % 1_000 == 0 else f"n{mixed % 97}"
        lines.append(
            f"{mixed % 5000},{delay},{mixed % 24},{('UA', 'AA', 'B6')[mixed % 3]},"
            f"N{mixed % 4001},{note},{str(mixed % 3 == 0).lower()}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def work(table: Path, folder: Path, threads: int) -> dict[str, Any]:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            str(Path(__file__).with_name("conftest.py")),
            str(table),
            str(folder),
        ],
        env={**os.environ, "POLARS_MAX_THREADS": str(threads), "PYTHONHASHSEED": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result.pop("threads") == threads
    return result


@pytest.fixture(scope="module")
def one_thread(big_table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return work(big_table, tmp_path_factory.mktemp("one") / "store", 1)


def test_many_threads_give_the_same_bytes_as_one(
    big_table: Path, tmp_path: Path, one_thread: dict[str, Any]
) -> None:
    assert work(big_table, tmp_path / "store", 8) == one_thread


def test_the_content_is_what_it_always_was(one_thread: dict[str, Any]) -> None:
    assert one_thread["content"] == GOLDEN_CONTENT


@pytest.mark.skipif(pl.__version__ != WRITTEN_BY, reason=f"recorded with Polars {WRITTEN_BY}")
def test_the_bytes_are_what_they_always_were(one_thread: dict[str, Any]) -> None:
    assert one_thread["bytes"] == GOLDEN_BYTES


def test_the_input_is_what_it_always_was(big_table: Path) -> None:
    digest = hashlib.sha256(big_table.read_bytes()).hexdigest()
    assert digest == "de33decbbb81458bac970a0c2f95a102c3e21701364e46fae18824e0f4b341fc"
