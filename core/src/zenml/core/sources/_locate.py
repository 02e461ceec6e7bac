"""Where a module's file is, and which distribution it belongs to, without importing anything."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Location", "distribution_of", "is_importable", "is_installed", "locate", "module_name"]

_EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_STDLIB = tuple(
    os.path.realpath(path) + os.sep
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
)
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


class Location(NamedTuple):
    """A module found on the path.

    Attributes:
        name: Absolute dotted name.
        path: Its source or binary file.
        packages: ``__init__.py`` of each regular package that importing it runs, outermost first.
    """

    name: str
    path: str
    packages: tuple[str, ...]


def locate(name: str) -> Location | None:
    """Find a module as ``import`` would, but import no parent package on the way.

    None if it is built in, or nowhere on ``sys.path``.
    """
    folders = [entry or os.getcwd() for entry in sys.path]
    packages: list[str] = []
    parts = name.split(".")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        portions: list[str] = []
        for folder in folders:
            base = os.path.join(folder, part)
            init = os.path.join(base, "__init__.py")
            if os.path.isfile(init):
                if last:
                    return Location(name, init, tuple(packages))
                packages.append(init)
                portions = [base]
                break
            if last:
                for suffix in (".py", *_EXTENSIONS):
                    if os.path.isfile(base + suffix):
                        return Location(name, base + suffix, tuple(packages))
            if os.path.isdir(base):
                portions.append(base)
        if not portions:
            return None
        folders = portions
    return None


def is_importable(name: str) -> bool:
    """Whether ``import name`` would find the module. Imports nothing."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or locate(name) is not None:
        return True
    # Import hooks of editable installs and zip files are asked too; only for the top-level name,
    # since asking for more would import the parents.
    try:
        return "." not in name and importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def is_installed(path: str) -> bool:
    """Whether a file belongs to an installed distribution or to Python, not to a user's sources."""
    return bool(_INSTALLED.search(path)) or os.path.realpath(path).startswith(_STDLIB)


def is_stdlib(name: str) -> bool:
    """Whether a dotted name is Python's own."""
    return name.partition(".")[0] in sys.stdlib_module_names


def module_name(path: str) -> tuple[str, str]:
    """The import root and dotted name of a source file: walk up while there is ``__init__.py``."""
    file = Path(os.path.abspath(path))
    parts = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return str(folder), ".".join(parts)


class _SitePackages:
    """The files that each distribution of one ``site-packages`` has recorded."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.infos = [name for name in sorted(os.listdir(folder)) if name.endswith(".dist-info")]
        self._records: dict[str, bytes] = {}

    def owner(self, relative: str, top: str) -> tuple[str, str] | None:
        wanted = b"\n" + relative.replace(os.sep, "/").encode() + b","
        likely = re.sub(r"[-_.]+", "_", top).lower()
        # Nearly always the distribution is named as its package, so that one is read first.
        self.infos.sort(key=lambda info: not info.lower().startswith(f"{likely}-"))
        for info in self.infos:
            if wanted in self._record(info):
                name, _, version = info.removesuffix(".dist-info").partition("-")
                return re.sub(r"[-_.]+", "-", name).lower(), version
        return None

    def _record(self, info: str) -> bytes:
        if info not in self._records:
            try:
                with open(os.path.join(self.folder, info, "RECORD"), "rb") as file:
                    self._records[info] = b"\n" + file.read()
            except OSError:
                self._records[info] = b""
        return self._records[info]


@lru_cache(maxsize=64)
def _site_packages(folder: str, _changed: int) -> _SitePackages:
    return _SitePackages(folder)


def distribution_of(location: Location) -> tuple[str, str] | None:
    """Name and version of the installed distribution that brought a module; None if unknown."""
    match = _INSTALLED.search(location.path)
    if match is None:
        return None
    folder = location.path[: match.end() - 1]
    # The outermost regular package is the surest thing to be found in a RECORD.
    first = location.packages[0] if location.packages else location.path
    relative = os.path.relpath(first, folder)
    site = _site_packages(folder, os.stat(folder).st_mtime_ns)
    return site.owner(relative, location.name.partition(".")[0])
