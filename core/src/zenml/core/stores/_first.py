"""Records that several processes may write at once, and of which the first counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from zenml.core._canonical import canonical
from zenml.core.contracts._store import ArtifactStore

__all__ = ["write_first"]

_Record = TypeVar("_Record")


def write_first(
    store: ArtifactStore, key: str, record: _Record, read: Callable[[], _Record | None]
) -> _Record:
    """Write a record unless there is one; returns the one that counts.

    Args:
        store: Where to.
        key: Where in it.
        record: What there is to say.
        read: Reads what is under the key; None if that is nothing, or illegible.
    """
    data = canonical(record)
    store.write_if_absent(key, data)
    # Read again, also what was written just now: what nobody can read is as good as not written.
    counts = read()
    if counts is None:
        store.write(key, data)
    return record if counts is None else counts
