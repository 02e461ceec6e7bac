"""Imports users' modules as their sources are now, and keeps what each was made from.

Python holds a compiled file to be current if the source has the same size and, to the second, the
same time: a module that is edited and imported at once is the old one, under the key of the new.
Its compiled files can also be checked by content (PEP 552). That is what a user's module gets here:
it costs reading the source, and any other Python that meets such a file checks it in the same way.
Never using compiled files at all would be simpler, and would compile a project again in every
worker process; changing what is in ``site-packages`` is the business of installers.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from functools import lru_cache
from importlib import machinery
from typing import Any
from weakref import WeakKeyDictionary

from zenml.core.sources._locate import is_installed

__all__ = ["UserModuleLoader", "executed", "ran_old_compiled", "remember"]

#: How a compiled file begins that is checked against a digest of its source.
_CHECKED = importlib.util.MAGIC_NUMBER + b"\x03\0\0\0"

#: The same with a digest of nothing: it has Python compile the source, and keep that by content.
_OF_NOTHING = _CHECKED + bytes(8)

#: The core is no user's module, also where its source folder is what is installed.
_CORE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep

#: Modules that were loaded in another way: their specs, and what they were made from.
_others: WeakKeyDictionary[types.ModuleType, tuple[Any, bytes]] = WeakKeyDictionary()


class UserModuleLoader(machinery.SourceFileLoader):
    """Loads a module from a source file, or from a compiled file that was checked by content.

    There is a loader for each time that a module is imported or reloaded.

    Attributes:
        source: What the module was made from; None before that.
    """

    source: bytes | None = None

    def get_data(self, path: str) -> bytes:
        """The content of a file; of a compiled file that is checked by time, nothing."""
        if path == self.path:
            data = super().get_data(path)
            if self.source is None:  # later on it is read for tracebacks
                self.source = data
            return data
        if not path.endswith(".pyc") or path != importlib.util.cache_from_source(self.path):
            return super().get_data(path)
        try:
            data = super().get_data(path)
        except OSError:
            return _OF_NOTHING
        return data if data.startswith(_CHECKED) else _OF_NOTHING


def executed(module: types.ModuleType | None) -> bytes | None:
    """The source that a module was made from in this process; None if nobody knows."""
    if not isinstance(module, types.ModuleType):
        return None
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None)
    if isinstance(loader, UserModuleLoader):
        return loader.source
    known = _others.get(module)
    # A module that is loaded again is the same module, and has another spec.
    return known[1] if known is not None and known[0] is spec else None


def remember(module: types.ModuleType, source: bytes) -> None:
    """Say what a module was made from that no loader of ours has loaded."""
    _others[module] = (getattr(module, "__spec__", None), source)


def ran_old_compiled(module: types.ModuleType | None, source: bytes) -> str | None:
    """The compiled file that a module may have been made from, though it is not of this source.

    Of modules that were imported before there was a loader of ours: ``import helper`` above
    ``from zenml.pipelines import Pipeline``.
    """
    spec = getattr(module, "__spec__", None)
    path = getattr(module, "__file__", None)
    if spec is None or path is None or type(spec.loader) is not machinery.SourceFileLoader:
        return None
    return _old_compiled(path, source)


@lru_cache(maxsize=512)
def _old_compiled(path: str, source: bytes) -> str | None:
    try:
        compiled = importlib.util.cache_from_source(path)
        with open(compiled, "rb") as file:
            data = file.read()
        status = os.stat(path)
    except (OSError, NotImplementedError):
        return None
    time, size = (int(number) & 0xFFFFFFFF for number in (status.st_mtime, status.st_size))
    header = importlib.util.MAGIC_NUMBER + bytes(4)
    header += time.to_bytes(4, "little") + size.to_bytes(4, "little")
    if not data.startswith(header):
        return None  # Python does not take it for current
    import marshal

    try:
        old = marshal.loads(data[len(header) :])  # noqa: S302 - Python itself has executed it
        new = compile(source, path, "exec", dont_inherit=True)
    except (EOFError, ValueError, TypeError, SyntaxError):
        return None
    # A constant that does not equal itself (nan) has the same bytes; a set, in another order, not.
    same = old == new or marshal.dumps(old, 2) == marshal.dumps(new, 2)
    return None if same else compiled


def _is_users(folder: str) -> bool:
    inside = os.path.join(os.path.abspath(folder), "")
    return not inside.startswith(_CORE) and not is_installed(inside)


_find_files = machinery.FileFinder.path_hook(
    (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
    (UserModuleLoader, machinery.SOURCE_SUFFIXES),
    (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
)


def _find_users(folder: str) -> Any:
    if not _is_users(folder):
        raise ImportError("not a user's folder", path=folder)
    return _find_files(folder)


def _install() -> None:
    """Have our loader used for what is imported from users' folders from now on.

    A hook for folders is asked once for each folder. It is not in the way of finders that look for
    modules otherwise: pytest's, which rewrites assertions, and those of editable installs.
    """
    is_users = lru_cache(maxsize=None)(_is_users)  # many modules are in few folders
    names = [getattr(hook, "__name__", "") for hook in sys.path_hooks]
    plain = "path_hook_for_FileFinder"
    sys.path_hooks.insert(names.index(plain) if plain in names else len(names), _find_users)
    for folder, finder in list(sys.path_importer_cache.items()):
        if type(finder) is machinery.FileFinder and is_users(folder):
            sys.path_importer_cache.pop(folder, None)
    # Who edits these from now on is told; see ran_old_compiled() for what was edited before.
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) if type(module) is types.ModuleType else None
        if isinstance(path, str) and path.endswith(".py") and is_users(os.path.dirname(path)):
            try:
                with open(path, "rb") as file:
                    remember(module, file.read())
            except OSError:
                continue


_install()
