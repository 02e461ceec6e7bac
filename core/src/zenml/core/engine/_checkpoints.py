"""Checkpoints: how far a step has come, for whoever does the same work again."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from zenml.core._canonical import canonical, check_plain, from_json, sha256
from zenml.core.contracts._artifact import Blob, Files
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import IntegrityError, ObjectNotFoundError, ZenMLError

__all__ = ["read_checkpoint", "write_checkpoint"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


def write_checkpoint(store: ArtifactStore, key: str, value: Any, where: str) -> None:
    """Replace the checkpoint of the step with that key. Raises ``ZenMLError`` for no plain data."""
    unfit = check_plain(value, "it")
    if unfit:
        raise ZenMLError(
            f"a checkpoint cannot hold that: {unfit}",
            where=where,
            remedy="save plain data, and put everything else with files.put()",
        )
    body = canonical(value)
    # The digest tells what a loss of power left of it.
    store.write(_key(key), canonical({"digest": sha256(body), "checkpoint": value}))


def read_checkpoint(store: ArtifactStore, key: str, files: Files, log: logging.Logger) -> Any:
    """The checkpoint of the step with that key; None if there is none that is whole."""
    try:
        stored = from_json(store.read(_key(key)))
        value = stored["checkpoint"]
        if sha256(canonical(value)) != stored["digest"]:
            raise ValueError("it is not what was recorded")
        for blob in _blobs(value):
            files.fetch(blob)
    except ObjectNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, IntegrityError) as error:
        message = error.message if isinstance(error, ZenMLError) else str(error)
        log.warning("the checkpoint cannot be read, so the step begins anew: %s", message)
        return None
    return value


def _key(key: str) -> str:
    return f"units/{key}/checkpoint.json"


def _blobs(value: Any) -> Iterator[Blob]:
    """What ``[digest, size]`` refers to, anywhere in it."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _blobs(item)
    elif isinstance(value, list):
        match value:
            case [str(digest), int(size)] if _DIGEST.fullmatch(digest):
                yield Blob(digest, size)
            case _:
                for item in value:
                    yield from _blobs(item)
