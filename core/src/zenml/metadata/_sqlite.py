"""The default metadata store: a SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from zenml.core import ArtifactStore
from zenml.core.engine._records import (
    StepRecord,
    read_events,
    read_outcome,
    read_started,
    run_ids,
    status_of,
)
from zenml.core.errors import ObjectNotFoundError
from zenml.metadata._base import IndexedRun, IndexedStep, MetadataStore

__all__ = ["SQLiteMetadataStore"]

#: Changes with the tables. An index of another layout is made anew: it is only an index.
_LAYOUT = 1

_TABLES = """
create table if not exists runs (
    store text, run text, pipeline text, plan text, orchestrator text, started text,
    status text, seconds real, primary key (store, run)
) without rowid;
create table if not exists steps (
    store text, run text, step text, pipeline text, status text, record blob,
    primary key (store, run, step)
) without rowid;
create index if not exists steps_by_name on steps (store, pipeline, step, run);
"""


class SQLiteMetadataStore(MetadataStore):
    """An index in one SQLite file.

    Args:
        uri: Path of the file; it and its folder are made when first needed.
    """

    def __init__(self, uri: str | Path) -> None:
        self.path = Path(uri)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._open()
        except sqlite3.DatabaseError:
            # A damaged index is replaced: nothing is in it that is not in the run logs.
            self.path.unlink(missing_ok=True)
            connection = self._open()
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=30)
        try:
            layout = connection.execute("pragma user_version").fetchone()[0]
            if layout != _LAYOUT:
                connection.execute("pragma journal_mode = wal")
                if layout:
                    connection.executescript(
                        "drop table if exists runs; drop table if exists steps"
                    )
                connection.executescript(_TABLES)
                connection.execute(f"pragma user_version = {_LAYOUT}")
            # An index can be rebuilt, so it need not wait for the disk.
            connection.execute("pragma synchronous = off")
        except BaseException:
            connection.close()
            raise
        return connection

    def ingest(self, store: ArtifactStore, run_id: str | None = None) -> int:
        with self._connection() as connection:
            if run_id is not None:
                return int(_ingest(connection, store, run_id))
            rows = connection.execute("select run, status from runs where store = ?", [store.url])
            ended = {run for run, status in rows if status in ("succeeded", "failed", "cancelled")}
            return sum(
                _ingest(connection, store, run) for run in run_ids(store) if run not in ended
            )

    def reindex(self, store: ArtifactStore) -> int:
        with self._connection() as connection:
            connection.execute("delete from runs where store = ?", [store.url])
            connection.execute("delete from steps where store = ?", [store.url])
        return self.ingest(store)

    def runs(
        self, store: ArtifactStore, *, pipeline: str | None = None, limit: int = 50
    ) -> list[IndexedRun]:
        condition, values = "", [store.url]
        if pipeline is not None:
            condition, values = "and pipeline = ?", [store.url, pipeline]
        query = f"""
            select run, pipeline, plan, orchestrator, started, status, seconds,
                (select count(*) from steps s where s.store = r.store and s.run = r.run
                    and s.status != 'running'),
                (select count(*) from steps s where s.store = r.store and s.run = r.run
                    and s.status = 'cached')
            from runs r where store = ? {condition} order by run desc limit ?
        """  # noqa: S608 - the condition is one of two constants
        with self._connection() as connection:
            rows = connection.execute(query, [*values, limit]).fetchall()
        names = IndexedRun.__struct_fields__
        return [IndexedRun(**dict(zip(names, row, strict=True))) for row in rows]

    def last_step(
        self, store: ArtifactStore, pipeline: str, step: str, *, before: str | None = None
    ) -> IndexedStep | None:
        query = """
            select s.run, r.plan, s.record from steps s join runs r using (store, run)
            where s.store = ? and s.pipeline = ? and s.step = ? and s.run < ?
                and s.status in ('succeeded', 'cached', 'failed', 'cancelled')
            order by s.run desc limit 1
        """
        with self._connection() as connection:
            # "~" sorts behind every run id.
            found = connection.execute(query, [store.url, pipeline, step, before or "~"]).fetchone()
        if found is None:
            return None
        record = msgspec.json.decode(found[2], type=StepRecord)
        return IndexedStep(run=found[0], pipeline=pipeline, plan=found[1], record=record)


def _ingest(connection: sqlite3.Connection, store: ArtifactStore, run_id: str) -> bool:
    try:
        started = read_started(store, run_id)
    except ObjectNotFoundError:
        return False  # the run's first object is being written, or was removed
    outcome = read_outcome(store, run_id)
    connection.execute(
        "insert or replace into runs values (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            store.url,
            run_id,
            started.pipeline,
            started.plan,
            started.orchestrator,
            started.started,
            status_of(store, started, outcome),
            outcome.seconds if outcome else 0.0,
        ],
    )
    connection.executemany(
        "insert or replace into steps values (?, ?, ?, ?, ?, ?)",
        (
            (store.url, run_id, e.step, started.pipeline, e.status, msgspec.json.encode(e))
            for e in read_events(store, run_id)
        ),
    )
    return True
