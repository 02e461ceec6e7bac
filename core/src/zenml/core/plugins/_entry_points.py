"""Reads the entry points of installed plugins, once, without importing anything.

``importlib.metadata.entry_points()`` parses the entry points of *every* installed distribution and
the whole metadata of each; with a thousand distributions that alone takes a second. Only files that
name our group are parsed here, and only two header lines of their metadata are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

__all__ = ["GROUP", "EntryPoint", "normalise", "plugin_entry_points"]

GROUP = "zenml.plugins"


class EntryPoint(NamedTuple):
    """One entry point of the group, and the distribution that it was read from."""

    name: str
    module: str
    distribution: str
    version: str


def normalise(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def plugin_entry_points() -> list[EntryPoint]:
    """Every entry point of the group, ordered by distribution and name.

    Where one distribution is found twice on the path, the first one counts, as for imports.
    """
    found: dict[tuple[str, str], EntryPoint] = {}
    seen: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        text = _read(distribution, "entry_points.txt")
        if GROUP not in text:
            continue
        name, version = _name_and_version(distribution)
        if seen.setdefault(normalise(name), distribution) is not distribution:
            continue
        for label, module in _in_group(text):
            found[normalise(name), label] = EntryPoint(label, module, name, version)
    return [found[key] for key in sorted(found)]


def _in_group(text: str) -> Iterator[tuple[str, str]]:
    inside = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            inside = line == f"[{GROUP}]"
        elif inside and "=" in line and not line.startswith("#"):
            label, _, module = line.partition("=")
            yield label.strip(), module.partition("[")[0].strip()


def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    text = _read(distribution, "METADATA") or _read(distribution, "PKG-INFO")
    headers = text.partition("\n\n")[0]
    fields = dict(re.findall(r"^(Name|Version):[ \t]*(.+?)[ \t]*$", headers, re.MULTILINE))
    # Where an interrupted installation left no metadata, the folder's name says the same.
    folder = os.path.basename(str(getattr(distribution, "_path", "unknown")))
    name, _, version = os.path.splitext(folder)[0].partition("-")
    return fields.get("Name", name.replace("_", "-")), fields.get("Version", version or "0")


def _read(distribution: metadata.Distribution, name: str) -> str:
    """A file of the distribution's metadata; empty if it is not there."""
    try:
        return distribution.read_text(name) or ""
    except UnicodeDecodeError as error:
        # One distribution that is not in UTF-8 must not hide all others.
        return error.object.decode("utf-8", "replace")
    except OSError:
        return ""
