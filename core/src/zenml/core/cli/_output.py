"""Plain tables and JSON on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

import msgspec

__all__ = ["ago", "echo", "echo_json", "one_line", "size", "table"]


def echo(text: str = "") -> None:
    """Print a line; characters that the terminal cannot show become escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def echo_json(value: Any) -> None:
    """Print plain data or structs as JSON, for programs."""
    data = msgspec.json.encode(msgspec.to_builtins(value, str_keys=True))
    text = msgspec.json.format(data, indent=2).decode()
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # Escapes that JSON knows, which those of echo() are not.
        text = json.dumps(json.loads(text), indent=2)
    echo(text)


def one_line(text: str, length: int = 100) -> str:
    """Text of somebody else's as a cell of a table."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Print aligned columns; ``empty`` instead where there is no row."""
    lines = [list(map(str, row)) for row in rows]
    if not lines:
        echo(empty)
        return
    columns = list(zip(*[list(header), *lines], strict=True))
    widths = [max(map(len, column)) for column in columns]
    for line in [[name.upper() for name in header], *lines]:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        echo("  ".join(cells).rstrip())


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def ago(iso: str) -> str:
    """How long ago a recorded time is, for people."""
    then = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    seconds = int((datetime.now(timezone.utc) - then).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{max(seconds, 0)} s ago"
