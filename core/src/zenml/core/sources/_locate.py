"""Where a module's file is, and which distribution it belongs to, without importing anything."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Location",
    "distribution_of",
    "editable_roots",
    "is_importable",
    "is_installed",
    "locate",
    "module_name",
]

#: In the order in which Python looks for them.
_SUFFIXES = (*importlib.machinery.EXTENSION_SUFFIXES, ".py", ".pyc")
_STDLIB = tuple(
    spelled + os.sep
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    for spelled in {path, os.path.realpath(path)}
)
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


class Location(NamedTuple):
    """A module found on the path.

    Attributes:
        name: Absolute dotted name.
        path: Its source or binary file.
        packages: Name and ``__init__`` file of each regular package around it, outermost first.
    """

    name: str
    path: str
    packages: tuple[tuple[str, str], ...]


def locate(name: str) -> Location | None:
    """Find a module as ``import`` would, but import no parent package on the way.

    None if it is built in, or nowhere on ``sys.path``.
    """
    folders = [entry or os.getcwd() for entry in sys.path]
    packages: list[tuple[str, str]] = []
    parts = name.split(".")
    for index, part in enumerate(parts):
        found, portions = _look(part, folders)
        if found is None and not portions and index == 0:
            found, portions = _ask_finders(part)
        here = ".".join(parts[: index + 1])
        if index == len(parts) - 1:
            return None if found is None else Location(name, found, tuple(packages))
        if found is not None and not portions:
            return None  # a module has no modules inside it
        if found is not None:
            packages.append((here, found))
        if not portions:
            return None
        folders = portions
    return None


def _look(part: str, folders: Iterable[str]) -> tuple[str | None, list[str]]:
    """The file of a module or package, and the folders in which to look for what is inside it."""
    portions: list[str] = []
    for folder in folders:
        base = os.path.join(folder, part)
        is_folder = os.path.isdir(base)
        if is_folder:
            init = os.path.join(base, "__init__")
            for suffix in _SUFFIXES:
                if os.path.isfile(init + suffix):
                    return init + suffix, [base]
        for suffix in _SUFFIXES:
            if os.path.isfile(base + suffix):
                return base + suffix, []
        if is_folder:
            portions.append(base)
    return None, portions


def _ask_finders(part: str) -> tuple[str | None, list[str]]:
    """As ``_look``, for what import hooks bring: editable installs, for instance."""
    try:
        spec = importlib.util.find_spec(part)
    except (ImportError, ValueError, AttributeError):
        return None, []
    if spec is None:
        return None, []
    origin = spec.origin if spec.has_location else None
    return origin, list(spec.submodule_search_locations or ())


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


@lru_cache(maxsize=1)
def editable_roots() -> frozenset[str]:
    """Folders outside ``site-packages`` that installed distributions put on the path.

    An editable install names its source folder in a ``.pth`` file; it is found without our help.
    """
    found = set()
    for folder in {entry for entry in sys.path if _INSTALLED.search(entry + os.sep)}:
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.endswith(".pth"):
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                    found |= {os.path.abspath(line.strip()) for line in file if line[:1] == "/"}
    return frozenset(found)


def is_installed(path: str) -> bool:
    """Whether a file belongs to an installed distribution or to Python, not to a user's sources."""
    if _INSTALLED.search(path) or path.startswith(_STDLIB):
        return True
    return os.path.realpath(path).startswith(_STDLIB)


def is_stdlib(name: str) -> bool:
    """Whether a dotted name is Python's own, and no file of the user's stands before it."""
    top = name.partition(".")[0]
    if top not in sys.stdlib_module_names:
        return False
    if top in sys.builtin_module_names:
        return True
    found, _ = _look(top, [entry or os.getcwd() for entry in sys.path])
    if found is None:
        return True
    in_stdlib = os.path.realpath(found).startswith(_STDLIB)
    return in_stdlib and not _INSTALLED.search(found)


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
    first = location.packages[0][1] if location.packages else location.path
    relative = os.path.relpath(first, folder)
    site = _site_packages(folder, os.stat(folder).st_mtime_ns)
    return site.owner(relative, location.name.partition(".")[0])
