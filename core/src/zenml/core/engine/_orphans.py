"""Finds jobs that nobody waits for any more, and ends them when told to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from zenml.core._canonical import canonical
from zenml.core.contracts._store import ArtifactStore, StoredObject
from zenml.core.engine._as_job import job_from_store
from zenml.core.engine._gc import by_run
from zenml.core.engine._records import read_outcome, read_started, status_of
from zenml.core.errors import IntegrityError, ObjectNotFoundError
from zenml.core.jobs import JobRun, read_request
from zenml.core.jobs._attempts import open_attempts
from zenml.core.plugins._registry import Registry

__all__ = ["Orphan", "Orphans", "find_orphans", "sweep"]

#: Seconds that an orphan is given to stop by itself, and that its end is then waited for.
_GRACE, _ENDING_TAKES = 10.0, 60.0

_LOST = "was lost"


class Orphan(NamedTuple):
    """An attempt at a job of a run that is over.

    Attributes:
        key: Its folder in the store.
        reason: Why it can go.
        job: The job that it belongs to.
        lost: Whether its run has no outcome.
    """

    key: str
    reason: str
    job: JobRun
    lost: bool

    @property
    def attempt(self) -> int:
        return int(self.key.rpartition("/")[2])


class Orphans(NamedTuple):
    """What was found.

    Attributes:
        found: Attempts that can be ended and tidied up.
        unknown: A line for each backend whose jobs cannot be looked at.
    """

    found: list[Orphan]
    unknown: list[str]


def find_orphans(
    store: ArtifactStore, registry: Registry, *, grace: timedelta, tell: Callable[[str], None]
) -> Orphans:
    """Attempts that are left with their services, though their runs are over. Writes nothing.

    A run is over when it has an outcome, or gives no sign of life; both for as long as ``grace``,
    because a client may be tidying up, or about to try again.

    Args:
        store: Where to look.
        registry: What is installed.
        grace: How long a run must have been over.
        tell: Told in words what fails when they are swept.
    """
    young = datetime.now(timezone.utc) - grace
    orphans: list[Orphan] = []
    troubles: dict[bytes, str] = {}
    unseen: Counter[bytes] = Counter()
    for run_id, objects in by_run(store):
        attempts = open_attempts(objects)
        over = _over(store, run_id, objects, young) if attempts else None
        for attempt in attempts if over else ():
            folder = attempt.rpartition("/")[0]
            backend = b"?"
            try:
                config = read_request(store, folder).backend
                backend = canonical(config)
                if backend not in troubles:
                    job = job_from_store(store, registry, folder, tell=tell)
                    reason = _reason(job, attempt, f"job of a run that {over}", config.type)
                    orphans.append(Orphan(attempt, reason, job, over == _LOST))
                    continue
            except Exception as error:  # noqa: BLE001 - a backend's failure is no failure of ours
                said = " ".join(str(error).split()) or type(error).__name__
                name = f"backend '{config.type}'" if backend != b"?" else folder
                troubles[backend] = f"on {name} cannot be looked at: {said}"
            # The service was asked once; its other jobs would only be waited for as long.
            unseen[backend] += 1
    lines = [
        f"{unseen[backend]} job{'s' if unseen[backend] > 1 else ''} {trouble}"
        for backend, trouble in troubles.items()
    ]
    return Orphans(orphans, lines)


def sweep(orphans: list[Orphan]) -> int:
    """End what ``find_orphans`` found, and tidy up; returns how many are gone now.

    An attempt without a handle may have been submitted or not. It is closed, and its backend asked
    for a job of its name. Where that cannot tell, whatever runs under the name finds out from the
    store that it is closed, and ends.
    """
    for orphan in orphans:
        if orphan.lost:
            orphan.job.end_attempt(orphan.attempt, _GRACE, "LOST", "nobody waited for it any more")
        else:
            orphan.job.end_attempt(orphan.attempt, _GRACE)
    wait = _GRACE + _ENDING_TAKES
    return sum(orphan.job.tidy_attempt(orphan.attempt, wait) for orphan in orphans)


def _over(
    store: ArtifactStore, run_id: str, objects: list[StoredObject], young: datetime
) -> str | None:
    """How a run came to be over, in words; None if it is not, or may not be."""
    try:
        started = read_started(store, run_id)
    except (ObjectNotFoundError, IntegrityError):
        return None
    outcome = read_outcome(store, run_id)
    if status_of(store, started, outcome) == "running":
        return None
    if max(found.modified for found in objects) >= young:
        return None
    return _LOST if outcome is None else "has ended"


def _reason(job: JobRun, attempt: str, of_what: str, where: str) -> str:
    handle = job.find(int(attempt.rpartition("/")[2]))
    if handle is None:
        return f"{of_what}, of whose submission nothing is known"
    state = job.backend.poll(handle)
    if state.ended:
        return f"{of_what}, never tidied up on {where}"
    return f"{of_what}, still {state.phase} on {where}"
