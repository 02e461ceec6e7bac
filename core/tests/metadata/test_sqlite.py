"""The index of runs: it can be deleted, damaged, locked or shared, and always be rebuilt."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zenml.core import ArtifactStore, open_store
from zenml.core.engine._records import Outcome, RunLog, RunStarted, StepRecord, now
from zenml.core.errors import ConfigurationError, StoreUnavailableError
from zenml.core.testing import nothing_left_behind
from zenml.metadata import MetadataStore, SQLiteMetadataStore, open_metadata_store


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    made = open_store(str(tmp_path / "store"))
    made.prepare()
    return made


@pytest.fixture
def index(tmp_path: Path) -> SQLiteMetadataStore:
    return SQLiteMetadataStore(tmp_path / "deep" / "er" / "index.db")


def write_run(
    store: ArtifactStore, number: int, *, pipeline: str = "p", outcome: bool = True
) -> str:
    run_id = f"20260101-000000-{number:06}-abcdef"
    log = RunLog(store, run_id)
    log.begin(
        RunStarted(
            run=run_id,
            pipeline=pipeline,
            plan="0" * 64,
            orchestrator="local",
            started=now(),
            host="elsewhere",
            pid=1,
        )
    )
    log.append(StepRecord(step="first", status="running"))
    log.append(StepRecord(step="first", status="succeeded", outputs={"output": "1" * 64}))
    log.append(StepRecord(step="second", status="cached", made_by="x"))
    log.flush()
    if outcome:
        log.finish(Outcome(status="succeeded", finished=now(), seconds=1.5))
    return run_id


def test_runs_are_known_newest_first_once_they_are_ingested(
    store: ArtifactStore, index: MetadataStore
) -> None:
    ids = [write_run(store, number, pipeline=f"p{number % 2}") for number in range(5)]
    assert index.runs(store) == []

    assert index.ingest(store) == 5

    assert [run.run for run in index.runs(store)] == ids[::-1]
    assert [run.run for run in index.runs(store, limit=2)] == [ids[4], ids[3]]
    assert [run.run for run in index.runs(store, pipeline="p1")] == [ids[3], ids[1]]
    newest = index.runs(store)[0]
    assert (newest.status, newest.steps, newest.cached, newest.seconds) == ("succeeded", 2, 1, 1.5)


def test_ingesting_is_incremental_and_changes_nothing_twice(
    store: ArtifactStore, index: MetadataStore
) -> None:
    write_run(store, 1)
    going_on = write_run(store, 2, outcome=False)
    assert index.ingest(store) == 2
    before = index.runs(store)

    assert index.ingest(store) == 1  # the one that goes on
    assert index.runs(store) == before
    assert before[0].status == "running"
    RunLog(store, going_on).finish(Outcome(status="failed", finished=now(), seconds=2))
    assert index.ingest(store, going_on) == 1
    assert index.ingest(store) == 0
    assert [run.status for run in index.runs(store)] == ["failed", "succeeded"]


def test_a_run_that_is_not_there_is_no_error(store: ArtifactStore, index: MetadataStore) -> None:
    assert index.ingest(store, "never-was") == 0


def test_runs_that_were_collected_are_forgotten(store: ArtifactStore, index: MetadataStore) -> None:
    kept, gone = write_run(store, 1), write_run(store, 2)
    index.ingest(store)
    for found in list(store.list(f"runs/{gone}/")):
        store.delete(found.key)

    index.ingest(store)

    assert [run.run for run in index.runs(store)] == [kept]
    found = index.last_step(store, "p", "first")
    assert found is not None
    assert found.run == kept


def test_stores_are_told_apart(store: ArtifactStore, index: MetadataStore, tmp_path: Path) -> None:
    other = open_store(str(tmp_path / "other"))
    other.prepare()
    write_run(store, 1)
    write_run(other, 2)
    index.ingest(store)
    index.ingest(other)

    index.reindex(other)

    assert len(index.runs(store)) == len(index.runs(other)) == 1
    assert index.runs(store) != index.runs(other)


def test_the_last_record_of_a_step_is_found(store: ArtifactStore, index: MetadataStore) -> None:
    ids = [write_run(store, number) for number in range(3)]
    write_run(store, 9, pipeline="another")
    index.ingest(store)

    newest = index.last_step(store, "p", "first")
    assert newest is not None
    assert (newest.run, newest.record.status) == (ids[2], "succeeded")
    earlier = index.last_step(store, "p", "first", before=ids[2])
    assert earlier is not None
    assert earlier.run == ids[1]
    assert index.last_step(store, "p", "first", before=ids[0]) is None
    assert index.last_step(store, "p", "third") is None


class TestHarm:
    @pytest.fixture(params=["deleted", "emptied", "not sqlite", "torn", "other layout", "journal"])
    def harmed(
        self, request: pytest.FixtureRequest, store: ArtifactStore, index: SQLiteMetadataStore
    ) -> SQLiteMetadataStore:
        for number in range(200):
            write_run(store, number)
        index.ingest(store)
        content = index.path.read_bytes()
        assert len(content) > 50_000
        if request.param == "deleted":
            index.path.unlink()
        elif request.param == "emptied":
            index.path.write_bytes(b"")
        elif request.param == "not sqlite":
            index.path.write_bytes(b"what is this?" * 1000)
        elif request.param == "torn":  # the beginning is whole, so that opening succeeds
            index.path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
        elif request.param == "journal":
            index.path.with_name(f"{index.path.name}-wal").write_bytes(b"left over" * 1000)
        else:
            connection = sqlite3.connect(index.path)
            connection.execute("drop table steps")
            connection.execute("pragma user_version = 77")
            connection.commit()
            connection.close()
        return index

    def test_it_is_made_anew(self, harmed: SQLiteMetadataStore, store: ArtifactStore) -> None:
        with nothing_left_behind():
            harmed.ingest(store)

            assert len(harmed.runs(store, limit=1000)) == 200
            assert harmed.last_step(store, "p", "second") is not None
            assert harmed.reindex(store) == 200
            assert len(harmed.runs(store, limit=1000)) == 200

    def test_asking_it_first_is_enough(
        self, harmed: SQLiteMetadataStore, store: ArtifactStore
    ) -> None:
        found = harmed.runs(store, limit=1000)
        # A missing index is empty until it is filled; a damaged one is filled to answer.
        assert len(found) in (0, 200)
        harmed.ingest(store)
        assert len(harmed.runs(store, limit=1000)) == 200


class TestOthers:
    @pytest.fixture
    def lock(self, store: ArtifactStore, index: SQLiteMetadataStore) -> Iterator[None]:
        """Another process is in the middle of writing, and does not come to an end."""
        write_run(store, 1)
        index.ingest(store)
        connection = sqlite3.connect(index.path)
        connection.execute("begin exclusive")
        yield
        connection.rollback()
        connection.close()

    def test_a_lock_is_a_typed_error_and_the_index_is_kept(
        self, lock: None, store: ArtifactStore, index: SQLiteMetadataStore
    ) -> None:
        write_run(store, 2)
        impatient = SQLiteMetadataStore(index.path, timeout=0.05)
        inode = index.path.stat().st_ino

        with pytest.raises(StoreUnavailableError, match="locked"):
            impatient.ingest(store)

        assert index.path.stat().st_ino == inode
        assert len(impatient.runs(store)) == 1  # reading goes on

    def test_many_who_make_it_at_once_all_succeed(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        ids = [write_run(store, number) for number in range(8)]
        for attempt in range(10):
            path = tmp_path / f"index{attempt}.db"
            barrier = threading.Barrier(len(ids))

            def ingest(run_id: str, path: Path = path, barrier: threading.Barrier = barrier) -> int:
                index = SQLiteMetadataStore(path)
                barrier.wait()
                return index.ingest(store, run_id)

            with ThreadPoolExecutor(len(ids)) as pool:
                assert list(pool.map(ingest, ids)) == [1] * len(ids)
            assert len(SQLiteMetadataStore(path).runs(store)) == len(ids)

    def test_a_place_where_no_file_can_be_is_a_typed_error(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file" / "index.db", tmp_path):
            with pytest.raises(StoreUnavailableError, match="zenml repo reindex"):
                SQLiteMetadataStore(path).ingest(store)

    def test_a_store_that_is_gone_is_not_the_indexs_fault(
        self, store: ArtifactStore, index: MetadataStore, tmp_path: Path
    ) -> None:
        write_run(store, 1)
        index.ingest(store)
        (tmp_path / "store").rename(tmp_path / "elsewhere")

        with pytest.raises(StoreUnavailableError, match="is not there"):
            index.reindex(store)

        # Nothing was forgotten on the way to that.
        assert len(index.runs(store)) == 1


class TestOpening:
    def test_urls_are_as_sqlalchemy_writes_them(self, tmp_path: Path) -> None:
        absolute = open_metadata_store(f"sqlite:///{tmp_path}/index.db")
        relative = open_metadata_store("sqlite:///some/index.db")
        plain = open_metadata_store("some/index.db")

        paths = [store.path for store in (absolute, relative, plain)]  # type: ignore[attr-defined]
        assert paths == [tmp_path / "index.db", Path("some/index.db"), Path("some/index.db")]

    def test_a_scheme_that_nothing_serves_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="carrier"):
            open_metadata_store("carrier://pigeon")

    def test_opening_touches_nothing(self, tmp_path: Path) -> None:
        open_metadata_store(str(tmp_path / "index.db"))

        assert list(tmp_path.iterdir()) == []
