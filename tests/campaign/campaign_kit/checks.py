"""What has to hold of a store after a run, whatever befell it. Reads its folder as it is."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from zenml.core import Artifact, ArtifactStore
from zenml.core.errors import StoreError
from zenml.core.jobs._task import JobOutcome

Commits = dict[str, dict[str, str]]

#: What a backend tries again by itself, and how often.
BUDGET = {"PREEMPTED": 3, "EVICTED": 3, "INFRA": 2, "LOST": 1}


def commits(store: ArtifactStore) -> Commits:
    """Steps that are finished, by name, with their outputs; those whose commit can be read."""
    found = {}
    for item in store.list("cache/"):
        try:
            record = json.loads(store.read(item.key))
        except ValueError:
            continue
        found[record["step"]] = record["outputs"]
    return found


def damaged(store: ArtifactStore) -> Iterator[str]:
    """Keys of bytes and manifests that are not what their names say."""
    for found in store.list("data/"):
        if hashlib.sha256(store.read(found.key)).hexdigest() != found.key.partition("/")[2]:
            yield found.key
    for found in store.list("artifacts/"):
        try:
            Artifact.decode(store.read(found.key), found.key[10:-5])
        except (StoreError, ValueError):
            yield found.key


def wrong_commits(store: ArtifactStore, reference: Commits) -> Iterator[str]:
    """What is wrong with finished steps: other results than an undisturbed run has."""
    for step, outputs in commits(store).items():
        if outputs != reference.get(step):
            yield f"step '{step}' is committed with {outputs}, expected {reference.get(step)}"


def incomplete(store: ArtifactStore, reference: Commits) -> Iterator[str]:
    """What is not there of the results of a run that is to be complete, and whole."""
    there = commits(store)
    for step in reference.keys() - there.keys():
        yield f"step '{step}' has no commit"
    bad = set(damaged(store))
    for outputs in there.values():
        for digest in outputs.values():
            key = f"artifacts/{digest}.json"
            if key in bad or not store.exists(key):
                yield f"{key} is missing or damaged"
                continue
            for blob in Artifact.decode(store.read(key), digest).files.values():
                if blob.key in bad or not store.exists(blob.key):
                    yield f"{blob.key} is missing or damaged"


def damaged_results(store: ArtifactStore) -> Iterator[str]:
    """Digests of finished steps' artifacts of which something is not what its name says."""
    bad = set(damaged(store))
    for outputs in commits(store).values():
        for digest in outputs.values():
            key = f"artifacts/{digest}.json"
            files = [] if key in bad else Artifact.decode(store.read(key), digest).files.values()
            if key in bad or any(blob.key in bad for blob in files):
                yield digest


def attempts(store: ArtifactStore, run: str) -> dict[str, dict[int, JobOutcome | None]]:
    """Job to the outcomes of its attempts; None of one that has none, or none that can be read."""
    found: dict[str, dict[int, JobOutcome | None]] = {}
    for item in store.list(f"runs/{run}/jobs/"):
        parts = item.key.split("/")
        if parts[-1] != "task.json":
            continue
        folder = item.key.rpartition("/")[0]
        outcome = None
        if store.exists(f"{folder}/outcome.json"):
            try:
                data = store.read(f"{folder}/outcome.json")
                outcome = msgspec.json.decode(data, type=JobOutcome)
            except ValueError:
                pass
        found.setdefault(parts[3], {})[int(parts[4])] = outcome
    return found


def inconsistent(
    told: dict[str, dict[int, JobOutcome | None]], *, retries: bool, torn: bool
) -> Iterator[str]:
    """What is wrong with the records of attempts.

    Args:
        told: The attempts of all jobs.
        retries: Whether failed attempts may be followed by others.
        torn: Whether a step's commit was torn, of which the job knows nothing: it has succeeded,
            and is done once more.
    """
    for job, outcomes in told.items():
        if sorted(outcomes) != list(range(1, len(outcomes) + 1)):
            yield f"{job} has attempts {sorted(outcomes)}"
        failed: Counter[str] = Counter()
        for number, outcome in sorted(outcomes.items()):
            if outcome is None:
                yield f"{job}, attempt {number} has no outcome"
                continue
            if outcome.attempt != number:
                yield f"{job}, attempt {number} has the outcome of attempt {outcome.attempt}"
            if outcome.status == "succeeded" and number != max(outcomes) and not torn:
                yield f"{job} succeeded with attempt {number} of {len(outcomes)}"
            if outcome.failure is not None:
                failed[outcome.failure.cause] += 1
        for cause, count in failed.items():
            budget = BUDGET.get(cause, 0) if retries else 0
            if count > budget + 1 or (count > budget and job == "plan" and _went_on(outcomes)):
                yield f"{job} failed {count} times with {cause}, and has {budget} retries"


def _went_on(outcomes: dict[int, JobOutcome | None]) -> bool:
    last: Any = outcomes[max(outcomes)]
    return last is not None and last.status == "succeeded"
