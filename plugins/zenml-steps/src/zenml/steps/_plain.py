"""Plain data as bytes: JSON where it is kept, MessagePack from one unit to the next."""

from __future__ import annotations

from typing import Any

import msgspec

from zenml.core import Blob, Files

__all__ = ["decode", "encode", "fetch", "put"]

_encoder = msgspec.json.Encoder(order="sorted")
_packer = msgspec.msgpack.Encoder(order="sorted")


def encode(value: Any) -> bytes:
    """As JSON. Equal values give equal bytes."""
    return _encoder.encode(value)


def decode(data: bytes) -> Any:
    """Read back what ``encode`` gave."""
    return msgspec.json.decode(data)


def put(value: Any, files: Files) -> list[Any]:
    """Store plain data, which may hold bytes; returns its blob as plain data."""
    blob = files.put_bytes(_packer.encode(value))
    return [blob.digest, blob.size]


def fetch(blob: list[Any], files: Files) -> Any:
    """Read back what ``put`` stored."""
    return msgspec.msgpack.decode(files.fetch(Blob(*blob)).read_bytes())
