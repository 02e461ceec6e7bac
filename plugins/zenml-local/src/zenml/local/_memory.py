"""Amounts of memory, as people write them."""

from __future__ import annotations

import re

__all__ = ["parse_memory"]

_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}

#: The runner itself does not start with less.
_LEAST = "64MiB"


def parse_memory(text: str) -> int:
    """Bytes: ``512MiB``, or ``512Mi`` as Kubernetes writes it. Raises ``ValueError``."""
    found = re.fullmatch(r"([0-9]+) ?([KMGT]i)B?", text, re.ASCII)
    if found is None:
        known = "KiB, MiB, GiB or TiB"
        raise ValueError(f"expected a whole number and {known}, such as '512MiB', found {text!r}")
    size = int(found[1]) * _UNITS[found[2]]
    if text != _LEAST and size < parse_memory(_LEAST):
        raise ValueError(f"expected at least {_LEAST}, which a job itself takes, found {text!r}")
    return size
