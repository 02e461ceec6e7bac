"""One spelling for one value: canonical JSON, and the digests made from it.

Canonical JSON here is UTF-8 with sorted keys, no spaces and the shortest float that round-trips.
Two processes that hold equal values get equal bytes, hence equal digests.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import msgspec

__all__ = ["canonical", "check_plain", "digest_of", "from_json", "sha256"]

_encoder = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """Encode plain data (or a ``msgspec.Struct`` of it) as canonical JSON."""
    return _encoder.encode(value)


def from_json(data: bytes) -> Any:
    """Decode JSON to plain Python values."""
    return msgspec.json.decode(data)


def sha256(data: bytes) -> str:
    """The SHA-256 of ``data``, in lower-case hexadecimal (64 characters)."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """The digest of a value's canonical JSON."""
    return sha256(canonical(value))


_SCALARS = (str, int, float, bool, type(None))


def check_plain(value: Any, path: str = "") -> str | None:
    """Say what in ``value`` JSON could not give back exactly, or None if everything can be.

    JSON has no NaN, turns integer keys into strings and knows no other types: each would come back
    as something else than what was stored, so each is refused here instead.
    """
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            return f"{path or 'the value'} is {value}, which JSON cannot hold"
        return None
    if kind is int:
        if not -(2**63) <= value < 2**64:
            return f"{path or 'the value'} is an integer of more than 64 bits"
        return None
    if kind is str:
        return None if value.isascii() else _check_text(value, path)
    if kind in _SCALARS:
        return None
    if kind is list or kind is tuple:
        for index, item in enumerate(value):
            if type(item) is str and item.isascii():
                continue  # a vocabulary may be long, and spelling each place out takes longest
            found = check_plain(item, f"{path}[{index}]")
            if found:
                return found
        return None
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                return f"{path or 'the value'} has the key {key!r}; keys must be strings"
            found = None if key.isascii() else _check_text(key, path)
            found = found or check_plain(item, f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    name = f"{kind.__module__}.{kind.__qualname__}"
    return f"{path or 'the value'} is of type {name}, which is not plain data"


def _check_text(text: str, path: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        what = f"{path or 'the value'} has a character that is no Unicode text"
        return f"{what}: {text[error.start]!a} at position {error.start}"
    return None
