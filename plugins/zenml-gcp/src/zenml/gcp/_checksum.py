"""The checksum that Cloud Storage keeps of every object."""

from __future__ import annotations

import base64
from typing import Any

__all__ = ["crc32c", "encoded"]


def crc32c(data: bytes) -> str:
    """The crc32c of some bytes, as Cloud Storage writes it."""
    from google_crc32c import Checksum

    return encoded(Checksum(data))


def encoded(checksum: Any) -> str:
    """A ``google_crc32c.Checksum``, as Cloud Storage writes it."""
    return base64.b64encode(checksum.digest()).decode()
