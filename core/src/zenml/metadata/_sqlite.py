"""The default metadata store: a SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

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
from zenml.core.errors import IntegrityError, ObjectNotFoundError, StoreUnavailableError
from zenml.metadata._base import IndexedRun, IndexedStep, MetadataStore

__all__ = ["SQLiteMetadataStore"]

_Result = TypeVar("_Result")

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
        timeout: How long to wait for another process that writes, in seconds.

    Every method raises ``StoreUnavailableError`` if the file cannot be used.
    """

    def __init__(self, uri: str | Path, *, timeout: float = 30.0) -> None:
        self.path = Path(uri)
        self.timeout = timeout

    def _use(self, store: ArtifactStore, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Do ``work`` in one transaction; a damaged index is made anew before."""
        try:
            try:
                return self._transact(work)
            except sqlite3.DatabaseError as error:
                # Its subclasses say that the file is locked, read-only or out of reach, and that
                # nothing is wrong with what is in it.
                if type(error) is not sqlite3.DatabaseError:
                    raise
                # Nothing is in it that is not in the run logs.
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
                self._transact(lambda connection: _ingest_all(connection, store))
                return self._transact(work)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(
                f"the index of runs cannot be used: {error}",
                where=str(self.path),
                remedy="everything in it is in the artifact store too: if no other process holds "
                "it, delete the file and run 'zenml repo reindex'",
            ) from error

    def _transact(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        with contextlib.closing(self._connect()) as connection, connection:
            return work(connection)

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=self.timeout)
        try:
            layout = connection.execute("pragma user_version").fetchone()[0]
            if layout != _LAYOUT:
                # Refused at once if another process is at the same; it will have done it.
                with contextlib.suppress(sqlite3.OperationalError):
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
        if run_id is not None:
            return self._use(store, lambda connection: int(_ingest(connection, store, run_id)))
        return self._use(store, lambda connection: _ingest_all(connection, store))

    def reindex(self, store: ArtifactStore) -> int:
        def work(connection: sqlite3.Connection) -> int:
            connection.execute("delete from runs where store = ?", [store.url])
            connection.execute("delete from steps where store = ?", [store.url])
            return _ingest_all(connection, store)

        return self._use(store, work)

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
        rows = self._use(
            store, lambda connection: connection.execute(query, [*values, limit]).fetchall()
        )
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
        # "~" sorts behind every run id.
        wanted = [store.url, pipeline, step, before or "~"]
        found = self._use(store, lambda connection: connection.execute(query, wanted).fetchone())
        if found is None:
            return None
        record = msgspec.json.decode(found[2], type=StepRecord)
        return IndexedStep(run=found[0], pipeline=pipeline, plan=found[1], record=record)


def _ingest_all(connection: sqlite3.Connection, store: ArtifactStore) -> int:
    rows = connection.execute("select run, status from runs where store = ?", [store.url])
    known = dict(rows.fetchall())
    ids = list(run_ids(store))
    # Collecting garbage may have taken the records of old runs.
    gone = [(store.url, run) for run in known.keys() - set(ids)]
    connection.executemany("delete from runs where store = ? and run = ?", gone)
    connection.executemany("delete from steps where store = ? and run = ?", gone)
    ended = ("succeeded", "failed", "cancelled")
    return sum(_ingest(connection, store, run) for run in ids if known.get(run) not in ended)


def _ingest(connection: sqlite3.Connection, store: ArtifactStore, run_id: str) -> bool:
    try:
        started = read_started(store, run_id)
    except (ObjectNotFoundError, IntegrityError):
        return False  # the run's first object is being written, was removed, or is damaged
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
