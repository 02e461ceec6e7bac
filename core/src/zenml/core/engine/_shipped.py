"""Shipped code where units are executed: unpacked, and put in place while they run.

Workers live long. One may be given units of a repository, then of an edited version of it, then of
both at once, and Python has one place for a module of a given name. So each version has its turn:

- Units of one version run together. Units of another wait until none of the first is left, in the
  order in which they came.
- During a turn its folders are the first on ``sys.path``, and no module is loaded that has the name
  of one of its own and comes from elsewhere.
- At the end of a turn ``sys.path`` and ``sys.modules`` are what they were. What a version imported
  is kept and put back if the next turn is its own; if it is another's, it is imported again.

What no turn can take back is what code did to modules that are not its own: an accessor registered
with an installed library, a changed environment variable.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from zenml.core.contracts._store import ArtifactStore
from zenml.core.contracts._units import MapContext
from zenml.core.errors import IntegrityError, StoreError, ZenMLError

__all__ = ["code_in_place"]

#: Seconds after which unpacked code that no worker has begun to use may go.
_UNUSED = 14 * 24 * 3600

#: Seconds after which a worker says again that it uses its code.
_TOUCHED_EVERY = 3600

#: Names that code shadows in no worker but one that is at the start: what the worker is made of.
_NEVER_HIDDEN = frozenset({"__main__", "zenml", *sys.stdlib_module_names})


@contextlib.contextmanager
def code_in_place(context: MapContext, store: ArtifactStore) -> Iterator[tuple[str, ...]]:
    """Have a context's code importable inside the block, and no other version of it.

    Returns:
        The folders to import from.

    Raises:
        ConfigurationError: this environment lacks what the code needs.
        IntegrityError: what is stored is not the code.
        StoreError: the store cannot give it, or there is no folder to unpack it to.
    """
    code = None if context.code is None else _prepared(context, store)
    _turns.begin(code)
    try:
        if code is None:
            # Also where the function is loaded already: it may load what the payload names.
            sys.path.extend(root for root in context.import_roots if root not in sys.path)
            yield context.import_roots
        else:
            yield tuple(code.path)
    finally:
        _turns.end(code)


# -- turns ---------------------------------------------------------------------------------------


class _Turns:
    """Lets units of one code run together, and those of another wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._running = 0
        self._code: _Code | None = None
        self._kept: _Code | None = None
        self._thread = threading.local()

    def begin(self, code: _Code | None) -> None:
        held: list[_Code | None] = self._thread.__dict__.setdefault("held", [])
        if held and held[-1] is not code:
            raise ZenMLError(
                "a unit of work executes a unit of other code, which would have to wait for it",
                remedy="map the inner units in a step of their own",
            )
        with self._changed:
            if not held:
                self._wait(code)
            self._running += 1
        held.append(code)

    def end(self, code: _Code | None) -> None:
        self._thread.held.pop()
        with self._changed:
            self._running -= 1
            if self._running:
                return
            try:
                if code is not None:
                    code.take_away()
            finally:
                self._changed.notify_all()

    def _wait(self, code: _Code | None) -> None:
        """Wait until it is our turn, and put the code in place if we are the first."""
        if self._waiting or (self._running and self._code is not code):
            ticket = object()
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or (self._running and self._code is not code):
                    self._changed.wait()
            finally:
                self._waiting.remove(ticket)
                # The one behind us may be of the same code.
                self._changed.notify_all()
        if not self._running:
            if code is not None:
                if self._kept is not None and self._kept is not code:
                    self._kept.forget()
                self._kept = code
                code.put_in_place()
            self._code = code


# -- one version of a repository -----------------------------------------------------------------


class _Code:
    """A version of a repository in this process, imported from some of its folders."""

    def __init__(self, folder: Path, roots: Iterable[str]) -> None:
        self.folder = str(folder)
        found = [os.path.normpath(os.path.join(self.folder, root)) for root in roots]
        #: Folders to import from, the repository's own last.
        self.path = [*dict.fromkeys([*found, self.folder])]
        self.checked: list[Mapping[str, str]] = []
        self.touched = time.monotonic()
        self._entries = self.path
        self._names = _names_in(self._entries)
        self._modules: dict[str, ModuleType] = {}
        self._hidden: dict[str, ModuleType] = {}
        self._before: frozenset[str] = frozenset()

    def is_there(self) -> bool:
        """Whether its folder is; tells those who tidy up that it is in use."""
        if time.monotonic() - self.touched > _TOUCHED_EVERY:
            self.touched = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self.folder)
        return os.path.isfile(os.path.join(self.folder, ".zenml", "bundle.json"))

    def put_in_place(self) -> None:
        """Begin a turn."""
        self._hidden = _taken_out([name for name in sys.modules if self._provides(name)])
        self._before = frozenset(sys.modules)
        _put_back(self._modules)
        sys.path[:0] = self._entries

    def take_away(self) -> None:
        """End a turn."""
        entries = [entry for entry in sys.path if self._is_inside(entry)]
        if entries != self._entries:
            self._entries, self._names = entries, _names_in(entries)
        sys.path[:] = [entry for entry in sys.path if not self._is_inside(entry)]
        new = [name for name in list(sys.modules) if name not in self._before]
        self._modules = _taken_out([name for name in new if self._owns(sys.modules[name])])
        _put_back({n: module for n, module in self._hidden.items() if n not in sys.modules})
        self._hidden = {}

    def forget(self) -> None:
        """Import everything again in the next turn: another version may undo what this one did."""
        self._modules = {}
        self._entries, self._names = self.path, _names_in(self.path)

    def _is_inside(self, path: object) -> bool:
        inside = self.folder + os.sep
        return isinstance(path, str) and (path == self.folder or path.startswith(inside))

    def _owns(self, module: ModuleType) -> bool:
        """Whether a module comes from this code, and from nowhere else."""
        try:
            file = getattr(module, "__file__", None)
            if file is not None:
                return self._is_inside(file)
            folders = list(getattr(module, "__path__", ()))
        except Exception:  # noqa: BLE001 - whatever stands in sys.modules, and is no module of ours
            return False
        return bool(folders) and all(map(self._is_inside, folders))

    def _provides(self, name: str) -> bool:
        """Whether a module of that name would be imported from here."""
        top = name.partition(".")[0]
        if top not in self._names or top in _NEVER_HIDDEN:
            return False
        folders = self._entries
        for part in name.split("."):
            portions = []
            for folder in folders:
                base = os.path.join(folder, part)
                if any(map(os.path.isfile, (os.path.join(base, "__init__.py"), f"{base}.py"))):
                    return True
                if os.path.isdir(base):
                    portions.append(base)
            folders = portions
        return False


def _names_in(folders: Iterable[str]) -> frozenset[str]:
    """The first parts of the names of modules that may be in folders."""
    listed = (os.listdir(folder) for folder in folders if os.path.isdir(folder))
    return frozenset(name.partition(".")[0] for names in listed for name in names)


def _taken_out(names: Iterable[str]) -> dict[str, ModuleType]:
    """Take modules out of those that are loaded, and out of the packages that they are in."""
    taken = {name: sys.modules.pop(name) for name in names}
    for name, module in taken.items():
        parent, _, child = name.rpartition(".")
        package = sys.modules.get(parent)
        if package is not None and getattr(package, "__dict__", {}).get(child) is module:
            delattr(package, child)
    return taken


def _put_back(modules: Mapping[str, ModuleType]) -> None:
    sys.modules.update(modules)
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent in sys.modules and parent not in modules:
            setattr(sys.modules[parent], child, module)


# -- unpacking -----------------------------------------------------------------------------------


def _prepared(context: MapContext, store: ArtifactStore) -> _Code:
    """The code of a context, unpacked and checked, with an environment that has what it needs."""
    assert context.code is not None
    key = (context.code, context.import_roots)
    with _unpacking:
        code = _codes.get(key)
        if code is None or not code.is_there():
            folder = _unpacked(store, context.code)
            code = _codes[key] = _Code(folder, context.import_roots)
        if context.requires not in code.checked:
            from zenml.core.bundle import refuse_mismatches

            refuse_mismatches(context.requires)
            code.checked.append(context.requires)
        return code


def _unpacked(store: ArtifactStore, digest: str) -> Path:
    """The folder with the code of a digest, which all processes of this machine share."""
    from zenml.core.bundle import unpack

    cache = _cache()
    folder = cache / digest
    try:
        unpack(store, digest, folder)
    except IntegrityError:
        # Changed by whoever: units run in it. Where it is the archive that is wrong, it says so
        # again.
        aside = cache / f".{digest}.{uuid.uuid4().hex}.changed"
        with contextlib.suppress(OSError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        unpack(store, digest, folder)
    with contextlib.suppress(OSError):
        os.utime(folder)
    _tidy(cache)
    return folder


def _tidy(cache: Path) -> None:
    """Remove what was not used for long, drafts of processes that were killed among it."""
    for name in os.listdir(cache):
        path = cache / name
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - _UNUSED:
                shutil.rmtree(path, ignore_errors=True)


def _cache() -> Path:
    """A folder of this user's own for what can be made again."""
    own = os.getuid() if hasattr(os, "getuid") else None
    temporary = os.path.join(tempfile.gettempdir(), f"zenml-{own}")
    # Containers have users without a home, and homes that nobody may write to.
    places = [os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")]
    if _is_ours(temporary, own):  # anybody may have made it
        places.append(temporary)
    for place in places:
        folder = os.path.join(place, "zenml", "code")
        if os.path.isabs(folder) and _is_ours(folder, own):
            return Path(folder)
    raise StoreError(
        "there is no folder to unpack the code to",
        where=", ".join(filter(os.path.isabs, places)) or None,
        remedy="set XDG_CACHE_HOME to a folder that can be written to",
    )


def _is_ours(folder: str, own: int | None) -> bool:
    """Whether a folder can be made, and nobody else can put code there."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.stat(folder)
    except OSError:
        return False
    alone = own is None or (status.st_uid == own and not status.st_mode & 0o022)
    return alone and os.access(folder, os.W_OK)


#: A process has one ``sys.modules``, and these go with it.
_turns = _Turns()
_codes: dict[tuple[str, tuple[str, ...]], _Code] = {}
_unpacking = threading.Lock()
