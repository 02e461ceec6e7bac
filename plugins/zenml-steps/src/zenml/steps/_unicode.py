"""What is text: JSON and Python spell half of a surrogate pair, and no column can hold it."""

from __future__ import annotations

__all__ = ["HALF", "is_text"]

HALF = "half of a surrogate pair stands in it: it is no text"


def is_text(value: str) -> bool:
    """Whether UTF-8 can write it."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
