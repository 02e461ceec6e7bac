"""Finds what nothing refers to any more, and deletes it when told to."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

import msgspec

from zenml.core._canonical import from_json
from zenml.core.bundle import archive_key
from zenml.core.contracts._store import ArtifactStore, StoredObject
from zenml.core.engine._files import scratch_is_in_use
from zenml.core.engine._keys import CacheRecord
from zenml.core.engine._records import read_outcome, read_started, status_of
from zenml.core.engine._ship import shipped_code
from zenml.core.errors import IntegrityError, ObjectNotFoundError, StoreError
from zenml.core.jobs._attempts import open_attempts

__all__ = ["Garbage", "by_run", "collect", "find_garbage"]


class Garbage(NamedTuple):
    """Something that can go.

    Attributes:
        key: Its key in the store, or a path of a draft.
        size: Bytes.
        reason: Why it can go.
    """

    key: str
    size: int
    reason: str


def find_garbage(
    store: ArtifactStore, *, grace: timedelta, runs_older_than: timedelta | None = None
) -> Iterator[Garbage]:
    """What nothing refers to. Writes nothing.

    An object younger than ``grace`` is kept whatever it is: a run that is going on elsewhere writes
    bytes before it writes what refers to them.

    Args:
        store: Where to look.
        grace: How old an unreferenced object must be.
        runs_older_than: If given, the records of ended runs older than this go too, and the cached
            results that only they used.
    """
    moment = datetime.now(timezone.utc)
    young = moment - grace
    near = getattr(store, "stale_drafts", None)
    for path in near(time.time() - grace.total_seconds()) if near else ():
        # A step may leave its scratch folder alone for hours and still need what is in it.
        if not scratch_is_in_use(path.name):
            yield Garbage(str(path), _size(path), "draft of a process that was killed")

    dropped: set[str] = set()
    kept_results: set[str] = set()
    code_in_use: set[str] = set()
    for run_id, objects in by_run(store):
        old = runs_older_than is not None and _ended_before(store, run_id, moment - runs_older_than)
        # Its record is all that finds a job that is left.
        if old and not open_attempts(objects):
            dropped.add(run_id)
            for found in objects:
                yield Garbage(found.key, found.size, "record of an old run")
        else:
            kept_results |= _results_of(store, objects)
            code_in_use |= set(_code_of(store, objects))

    referenced: set[str] = set(_committed(store))
    keys_in_use: set[str] = set()
    for found in store.list("cache/"):
        key = found.key.removeprefix("cache/").removesuffix(".json")
        record = _decode(store, found.key)
        unused = record is not None and record.run in dropped
        droppable = record is None or (unused and not kept_results & set(record.outputs.values()))
        if droppable and found.modified < young:
            why = "result of an old run" if record else "record that cannot be read"
            yield Garbage(found.key, found.size, why)
            continue
        keys_in_use.add(key)
        referenced |= set(record.outputs.values()) if record else set()
    referenced |= kept_results

    blobs: set[str] = set()
    for found in store.list("artifacts/"):
        digest = found.key.removeprefix("artifacts/").removesuffix(".json")
        if digest in referenced or found.modified >= young:
            blobs |= _blobs(store, found.key)
        else:
            yield Garbage(found.key, found.size, "artifact that nothing refers to")
    for found in store.list("units/"):
        step_key = found.key.split("/")[1]
        if step_key in keys_in_use and found.modified < young:
            yield Garbage(found.key, found.size, "part of a step that is finished")
        elif (code := shipped_code(found.key)) is not None:
            code_in_use.add(archive_key(code))
        else:
            blobs |= _blobs_in_unit(store, found.key)
    for found in store.list("data/"):
        if found.key.removeprefix("data/") not in blobs and found.modified < young:
            yield Garbage(found.key, found.size, "bytes that no artifact names")
    for found in store.list("code/"):
        if found.key not in code_in_use and found.modified < young:
            yield Garbage(found.key, found.size, "code that no run refers to")


def collect(store: ArtifactStore, garbage: list[Garbage]) -> int:
    """Delete what ``find_garbage`` found; returns the bytes that are free now.

    What refers goes before what it refers to, so that a reader never follows a dead reference.
    """
    order = {"runs": 0, "cache": 1, "units": 2, "artifacts": 3, "data": 4, "code": 4}
    freed = 0
    for item in sorted(garbage, key=lambda item: order.get(item.key.split("/")[0], 5)):
        if os.path.isabs(item.key):
            path = Path(item.key)
            if _is_folder(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        else:
            store.delete(item.key)
        freed += item.size
    return freed


def by_run(store: ArtifactStore) -> Iterator[tuple[str, list[StoredObject]]]:
    """Every run with all objects of its record."""
    current, objects = "", list[StoredObject]()
    for found in store.list("runs/"):
        run_id = found.key.split("/")[1]
        if run_id != current and objects:
            yield current, objects
            objects = []
        current = run_id
        objects.append(found)
    if objects:
        yield current, objects


def _ended_before(store: ArtifactStore, run_id: str, moment: datetime) -> bool:
    try:
        started = read_started(store, run_id)
    except (ObjectNotFoundError, IntegrityError):
        return False
    if status_of(store, started, read_outcome(store, run_id)) == "running":
        return False
    return datetime.fromisoformat(started.started.replace("Z", "+00:00")) < moment


def _results_of(store: ArtifactStore, objects: list[StoredObject]) -> set[str]:
    results: set[str] = set()
    for found in objects:
        if "/log/" in found.key:
            with contextlib.suppress(ValueError, ObjectNotFoundError):
                for event in from_json(store.read(found.key)):
                    results |= set(event.get("outputs", {}).values())
                    # An input may be a result of a run whose record has gone.
                    for given in event.get("inputs", {}).values():
                        results |= {given} if isinstance(given, str) else set(given)
    return results


def _code_of(store: ArtifactStore, objects: list[StoredObject]) -> Iterator[str]:
    """Keys of the code bundles that a run's jobs need, also for what is done again later."""
    for found in objects:
        if found.key.endswith(("/request.json", "/task.json")):
            with contextlib.suppress(ValueError, ObjectNotFoundError):
                told = from_json(store.read(found.key))
                yield archive_key(str(told.get("task", told).get("code")))


def _committed(store: ArtifactStore) -> Iterator[str]:
    for found in store.list("commits/"):
        yield found.key.split(".")[-2]  # also says it, and cannot be damaged
        with contextlib.suppress(ValueError, ObjectNotFoundError):
            yield from from_json(store.read(found.key))["outputs"].values()


def _decode(store: ArtifactStore, key: str) -> CacheRecord | None:
    try:
        return msgspec.json.decode(store.read(key), type=CacheRecord)
    except (ValueError, StoreError):
        return None


def _blobs(store: ArtifactStore, key: str) -> set[str]:
    try:
        files = from_json(store.read(key)).get("files", {})
    except (StoreError, ValueError):
        return set()
    return {blob["digest"] for blob in files.values()}


def _blobs_in_unit(store: ArtifactStore, key: str) -> set[str]:
    """Digests anywhere in a unit's result: what it names, the step will need when it goes on."""
    with contextlib.suppress(StoreError, ValueError):
        return set(_digests(from_json(store.read(key))))
    return set()


def _digests(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) == 64:
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _digests(item)
    elif isinstance(value, list):
        for item in value:
            yield from _digests(item)


def _size(path: Path) -> int:
    if not _is_folder(path):
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*"))


def _is_folder(path: Path) -> bool:
    # What a link leads to is not the store's, and stays.
    return path.is_dir() and not path.is_symlink()
