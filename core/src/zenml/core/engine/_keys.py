"""Cache keys: what a step's result depends on, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zenml.core._canonical import digest_of
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import ObjectNotFoundError
from zenml.core.plan._model import PlannedStep

__all__ = ["CacheRecord", "cache_key", "commit_key", "read_record", "write_record"]

Inputs = dict[str, str | list[str]]

_DIGEST = re.compile(r"[0-9a-f]{64}")


class CacheRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``cache/<key>.json``: the one atomic commit of a step.

    Attributes:
        outputs: Output name to artifact digest.
        run: The run that made it.
        step: The step that made it.
    """

    outputs: dict[str, str]
    run: str
    step: str

    def __post_init__(self) -> None:
        # Looked for in the store under these names, so they must be what they say.
        if not all(_DIGEST.fullmatch(digest) for digest in self.outputs.values()):
            raise ValueError("an output is not the digest of an artifact")


def components(planned: PlannedStep, inputs: Inputs, fingerprint: Any) -> dict[str, Any]:
    """What a step's result depends on: code, parameters, input contents. No place, no time."""
    parameters = planned.parameters
    if planned.unkeyed:
        parameters = {
            name: value for name, value in parameters.items() if name not in planned.unkeyed
        }
    found: dict[str, Any] = {
        "code": planned.code,
        "parameters": parameters,
        "inputs": inputs,
        "outputs": planned.outputs,
    }
    if fingerprint is not None:
        found["fingerprint"] = fingerprint
    return found


def cache_key(planned: PlannedStep, inputs: Inputs, fingerprint: Any, run_id: str) -> str:
    """The step's key. With caching off, the run is part of it: nobody else will ever look there."""
    parts = components(planned, inputs, fingerprint)
    if not planned.cache:
        parts["run"] = run_id
    return digest_of(parts)


def commit_key(key: str) -> str:
    """Where the commit of a step is stored."""
    return f"cache/{key}.json"


def read_record(store: ArtifactStore, key: str) -> CacheRecord | None:
    """The commit under a key; None if there is none that can be read."""
    try:
        return msgspec.json.decode(store.read(commit_key(key)), type=CacheRecord)
    except (ObjectNotFoundError, ValueError):
        return None  # unreadable is the same as absent: the step is done again


def write_record(
    store: ArtifactStore, key: str, record: CacheRecord, *, replace: bool = False
) -> CacheRecord:
    """Commit a step; returns the record that counts, which is another's if it came first.

    Args:
        store: Where to.
        key: The step's key.
        record: What it made.
        replace: Whether what is there is known to be of no use: its artifacts were removed.
    """
    data = msgspec.json.encode(record)
    if not replace:
        if store.write_if_absent(commit_key(key), data):
            return record
        winner = read_record(store, key)
        if winner is not None:
            return winner
    store.write(commit_key(key), data)
    return record
