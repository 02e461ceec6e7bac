"""Times written as text, so that the order of the text is that of time."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["TIME", "TIME_REMEDY", "comparable"]

#: The year first, and no offset from UTC.
TIME: Final = r"^[0-9]{4}[-/0-9QW]*([T ][0-9:.,]*Z?)?$"
TIME_REMEDY: Final = (
    "write times as 2013-09-01 or 2013-09-01T12:00:00Z, with the year first, or as numbers"
)


def comparable(time: str) -> str | None:
    """One spelling of what has several: ``2013-09-01 12:00Z`` is ``2013-09-01T12:00``.

    None for text that cannot be compared.
    """
    if not re.match(TIME, time) or time.endswith("\n"):
        return None
    return time.rstrip("Z").replace(" ", "T")
