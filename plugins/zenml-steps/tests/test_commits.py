"""The history of a datasource's snapshots, in a project."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from zenml.datasources import (
    CSVDatasource,
    FrameDatasource,
    JSONLinesDatasource,
    ParquetDatasource,
    SQLDatasource,
)
from zenml.local import ProcessingLocalBackend
from zenml.pipelines import Pipeline, step
from zenml.repo import Repository
from zenml.steps import Dataset

FRAME = pl.DataFrame({"id": range(50), "delay": [n / 4 for n in range(50)]})


@pytest.fixture(autouse=True)
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.chdir(tmp_path)
    return Repository.init_repo()


@step
def count(examples: Dataset) -> int:
    return examples.n_rows()


def source_of(kind: str, frame: pl.DataFrame) -> Any:
    """The rows, as a datasource of that kind."""
    if kind == "csv":
        frame.write_csv("rows.csv")
        return CSVDatasource(name="rows", path="rows.csv", rows_per_shard=20)
    if kind == "parquet":
        frame.write_parquet("rows.parquet")
        return ParquetDatasource(name="rows", path="rows.parquet", rows_per_shard=20)
    if kind == "json":
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in frame.to_dicts()))
        return JSONLinesDatasource(name="rows", path="rows.jsonl", rows_per_shard=20)
    if kind == "frame":
        return FrameDatasource(name="rows", frame=frame, rows_per_shard=20)
    pytest.importorskip("sqlalchemy")
    Path("rows.db").unlink(missing_ok=True)
    connection = sqlite3.connect("rows.db")
    connection.execute(f"CREATE TABLE t ({', '.join(frame.columns)}, PRIMARY KEY (id))")
    marks = ", ".join("?" * frame.width)
    connection.executemany(f"INSERT INTO t VALUES ({marks})", frame.rows())  # noqa: S608
    connection.commit()
    connection.close()
    return SQLDatasource(name="rows", url="sqlite:///rows.db", table="t", rows_per_shard=20)


KINDS = ("csv", "parquet", "json", "frame", "sql")


def test_equal_rows_are_one_commit_whatever_they_come_from() -> None:
    assert len({source_of(kind, FRAME).commit() for kind in KINDS}) == 1
    assert len(source_of("csv", FRAME).commits) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_source_commits_to_the_same_id_and_a_changed_one_does_not(kind: str) -> None:
    first = source_of(kind, FRAME).commit()
    assert source_of(kind, FRAME).commit() == first
    source = source_of(kind, FRAME.reverse().with_columns(id=pl.Series(range(50))))
    assert source.commit() != first
    assert len(source.commits) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_reads_the_commit_when_the_source_is_gone(kind: str) -> None:
    source = source_of(kind, FRAME)
    commit = source.commit()
    del source
    for path in Path().glob("rows.*"):
        path.unlink()
    gone = SQLDatasource(name="rows", url="sqlite:///rows.db", table="t")
    pipeline = Pipeline(name="counts", datasource=gone, datasource_commit_id=commit)
    pipeline.add_step(count())
    assert pipeline.run().load("count") == 50


def test_a_frame_that_was_not_committed_serves_a_run_of_this_process() -> None:
    pipeline = Pipeline(name="counts", datasource=source_of("frame", FRAME))
    pipeline.add_step(count())
    assert pipeline.run().load("count") == 50


def test_a_frame_that_was_committed_serves_where_nobody_holds_it() -> None:
    source = source_of("frame", FRAME)
    parameters = source.parameters()
    source.commit()
    del source
    gc.collect()
    again = FrameDatasource(**parameters)
    pipeline = Pipeline(name="counts", datasource=again, enable_cache=False)
    pipeline.add_step(count())
    assert pipeline.run().load("count") == 50


@pytest.mark.parametrize("kind", ["parquet", "json", "frame"])
def test_worker_processes_give_the_same_commit(kind: str) -> None:
    commit = source_of(kind, FRAME).commit()
    shutil.rmtree(".zenml")
    Repository.init_repo()
    source = source_of(kind, FRAME)
    source.with_backend(ProcessingLocalBackend(workers=2, mode="processes"))
    assert source.commit() == commit


PROGRAM = """
import sys
import polars as pl
from zenml.datasources import FrameDatasource, JSONLinesDatasource, ParquetDatasource
assert pl.thread_pool_size() == int(sys.argv[1])
for source in (
    ParquetDatasource(name="a", path="a.parquet"),
    JSONLinesDatasource(name="b", path="a.jsonl"),
    FrameDatasource(name="c", frame=pl.read_parquet("a.parquet")),
):
    print(source.commit())
"""


def test_any_number_of_threads_gives_the_same_commit() -> None:
    mixed = [n * 2654435761 % 2**32 for n in range(140_000)]
    frame = pl.DataFrame({"a": mixed, "b": [m / 7 for m in mixed], "c": [f"n{m}" for m in mixed]})
    frame.write_parquet("a.parquet", row_group_size=10_000)
    frame.write_ndjson("a.jsonl")
    commits = []
    for threads in ("1", "8"):
        shutil.rmtree(".zenml")
        Repository.init_repo()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, threads],
            env={**os.environ, "POLARS_MAX_THREADS": threads},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        commits += done.stdout.split()
    assert len(commits) == 6
    assert len(set(commits)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_that_changed_is_reported(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    first = source_of(kind, FRAME).commit()
    more = FRAME.with_columns(pl.lit(1.5).alias("late"), pl.lit("x").alias("delay"))
    with caplog.at_level(logging.WARNING, "zenml.datasources"):
        source = source_of(kind, more)
        second = source.commit()
    assert source.schema_changes(first, second) == [
        {"column": "delay", "before": "float", "after": "string"},
        {"column": "late", "before": None, "after": "float"},
    ]
    assert source.schema_changes(second, first)[1]["after"] is None
    assert source.schema_changes(first, first) == []
    assert caplog.messages == [
        (
            f"the schema of datasource 'rows' changed since commit {first[:12]}: "
            "'delay' was float and is string, 'late' is new (float)"
        )
    ]


def test_new_rows_of_the_same_schema_are_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    source_of("csv", FRAME).commit()
    source_of("csv", FRAME.head(10)).commit()
    assert not caplog.messages
