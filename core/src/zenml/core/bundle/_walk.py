"""Which files of a repository belong to its bundle."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from zenml.core.bundle._ignore import Pattern, PatternFile, last_match, line_for, parse_patterns
from zenml.core.bundle._manifest import path_problem
from zenml.core.errors import Problem

__all__ = ["IGNORE_FILE", "Found", "LeftOut", "Walk"]

IGNORE_FILE = ".zenmlignore"
_GIT_IGNORE_FILE = ".gitignore"

#: Never bundled, whatever any file says: other tools' bookkeeping, and the store itself.
_NEVER = frozenset(
    (".git", ".hg", ".svn", ".zenml", "__pycache__", ".tox", ".nox", "node_modules", ".DS_Store")
)
#: What marks a folder as an environment; a remote place has its own.
_ENVIRONMENT_MARKS = frozenset(("pyvenv.cfg", "conda-meta"))


class Found(NamedTuple):
    """A file of the repository that belongs to the bundle.

    Attributes:
        path: Relative to the repository, with ``/``.
        real: Where its bytes are.
        size: Bytes, when it was looked at.
        executable: Whether its owner may execute it.
        link: If it is a link, the path in the repository that it leads to.
    """

    path: str
    real: str
    size: int
    executable: bool
    link: str | None = None


class LeftOut(NamedTuple):
    """A file or folder that is not in the bundle.

    Attributes:
        path: Relative to the repository; a folder ends with ``/`` and stands for all that is in it.
        because: The file, line and pattern that leave it out, or the reason why nothing like it is
            ever bundled.
    """

    path: str
    because: str


class _Standing(Enum):
    """What holds in a folder until a line says otherwise."""

    IN = "what .gitignore does not leave out is in"
    BROUGHT_BACK = "a line of .zenmlignore brought all of it back"
    LEFT_BY_GIT = "only what git tracks, or .zenmlignore brings back, is in"
    LEFT = "only what .zenmlignore brings back is in"


@dataclass(frozen=True)
class _Folder:
    """A folder on the way from the root to where the walk is."""

    path: str
    real: str
    relative: str
    standing: _Standing
    git: tuple[PatternFile, ...]
    own: tuple[PatternFile, ...]
    because: str = ""
    parent: _Folder | None = None

    def chain(self) -> Iterator[_Folder]:
        folder: _Folder | None = self
        while folder is not None:
            yield folder
            folder = folder.parent


class Walk:
    """Looks at every file of a repository; reads none but the ignore files.

    Attributes:
        files: What belongs to the bundle, by path.
        left_out: What does not, by path, up to the folder that a rule names.
        problems: What cannot be bundled and is not left out either.
    """

    def __init__(self, root: Path) -> None:
        self.files: list[Found] = []
        self.left_out: list[LeftOut] = []
        self.problems: list[Problem] = []
        self._root = os.path.realpath(root)
        self._top = _work_tree(self._root)
        below = os.path.relpath(self._root, self._top).replace(os.sep, "/")
        #: How patterns see a path: git counts from the top of the work tree.
        self._prefix = "" if below == "." else f"{below}/"
        self._tracked = _tracked_though_ignored(self._root)
        self._tracked_folders = {
            path[:at] for path in self._tracked for at, char in enumerate(path) if char == "/"
        }
        self._walk()
        self.files.sort(key=lambda file: file.path)
        self.left_out.sort()
        self.problems.sort()

    def _walk(self) -> None:
        inherited: tuple[PatternFile, ...] = ()
        above = self._top
        for part in self._prefix.split("/")[:-1]:
            base = os.path.relpath(above, self._top).replace(os.sep, "/")
            name = "" if base == "." else f"{base}/"
            inherited = (*_read(above, _GIT_IGNORE_FILE, name, name), *inherited)
            above = os.path.join(above, part)
        stack = [_Folder(self._root, self._root, "", _Standing.IN, inherited, ())]
        while stack:
            stack += self._enter(stack.pop())

    def _enter(self, folder: _Folder) -> Iterator[_Folder]:
        try:
            entries = list(os.scandir(folder.path))
        except OSError as error:
            self._problem(folder.relative, f"cannot be read: {error.strerror}", folder=True)
            return
        names = {entry.name for entry in entries}
        if folder.relative and names & _ENVIRONMENT_MARKS:
            self.left_out.append(LeftOut(folder.relative, "an environment is never bundled"))
            return
        folder = self._with_patterns(folder, names)
        for entry in entries:
            yield from self._look(folder, entry)

    def _with_patterns(self, folder: _Folder, names: set[str]) -> _Folder:
        git, own = folder.git, folder.own
        seen = self._prefix + folder.relative
        if _GIT_IGNORE_FILE in names and folder.standing is _Standing.IN:
            git = (*_read(folder.path, _GIT_IGNORE_FILE, seen, folder.relative), *git)
        entered = folder.standing in (_Standing.IN, _Standing.BROUGHT_BACK)
        if IGNORE_FILE in names and entered:
            own = (*_read(folder.path, IGNORE_FILE, seen, folder.relative), *own)
        if (git, own) == (folder.git, folder.own):
            return folder
        return _Folder(
            folder.path, folder.real, folder.relative, folder.standing, git, own, "", folder.parent
        )

    def _look(self, folder: _Folder, entry: os.DirEntry[str]) -> Iterator[_Folder]:
        path = folder.relative + entry.name
        link = entry.is_symlink()
        is_folder = entry.is_dir(follow_symlinks=False)
        if not (link or is_folder or entry.is_file(follow_symlinks=False)):
            return  # a socket, a pipe, a device: nothing that could be bundled
        if entry.name in _NEVER or entry.name.endswith(".pyc"):
            return
        standing, because = self._decide(folder, path, is_folder=is_folder)
        if standing in (_Standing.LEFT, _Standing.LEFT_BY_GIT):
            # In a folder that is left out already, the folder's name says it all.
            if folder.standing is not standing:
                self.left_out.append(LeftOut(f"{path}/" if is_folder else path, because))
            if not is_folder or not self._holds_more(folder, path, standing):
                return
        if link:
            yield from self._follow(folder, entry, path, standing)
        elif is_folder:
            yield _Folder(
                path=entry.path,
                real=os.path.join(folder.real, entry.name),
                relative=f"{path}/",
                standing=standing,
                git=folder.git,
                own=folder.own,
                because=because,
                parent=folder,
            )
        else:
            self._take(path, entry.path)

    def _decide(self, folder: _Folder, path: str, *, is_folder: bool) -> tuple[_Standing, str]:
        seen = os.fsencode(self._prefix + path)
        own = last_match(folder.own, seen, folder=is_folder)
        if own is not None:
            return _Standing.BROUGHT_BACK if own[1].negative else _Standing.LEFT, _because(own)
        if folder.standing is _Standing.BROUGHT_BACK or folder.standing is _Standing.LEFT:
            return folder.standing, folder.because
        by_git = folder.standing is _Standing.LEFT_BY_GIT
        because = folder.because
        if not by_git:
            match = last_match(folder.git, seen, folder=is_folder)
            by_git = match is not None and not match[1].negative
            because = _because(match) if match else ""
        # git's rules are about what it does not track; a file that was added stays in.
        if not by_git or path in self._tracked:
            return _Standing.IN, ""
        return _Standing.LEFT_BY_GIT, because

    def _holds_more(self, folder: _Folder, path: str, standing: _Standing) -> bool:
        """Whether something in a folder that is left out may be in the bundle after all."""
        if standing is _Standing.LEFT_BY_GIT and path in self._tracked_folders:
            return True
        seen = os.fsencode(self._prefix + path)
        return any(
            pattern.negative and pattern.leads_below(seen[file.base :])
            for file in folder.own
            for pattern in file.patterns
        )

    def _follow(
        self, folder: _Folder, entry: os.DirEntry[str], path: str, standing: _Standing
    ) -> Iterator[_Folder]:
        target = os.path.realpath(entry.path)
        inside = f"{target}{os.sep}".removeprefix(f"{self._root.rstrip(os.sep)}{os.sep}")
        if os.path.isabs(inside):
            written = os.readlink(entry.path)
            self._problem(path, f"is a link that leaves the repository (to {written})")
        elif not os.path.exists(target):
            return  # nothing is there here either
        elif _NEVER.intersection(inside.split(os.sep)):
            self._problem(path, "is a link into a folder that is never bundled")
        elif not os.path.isdir(target):
            if os.path.isfile(target):
                self._take(path, target, inside.rstrip(os.sep).replace(os.sep, "/"))
        elif any(above.real == target for above in folder.chain()):
            self._problem(path, "is a link to a folder that it lies in itself")
        else:
            yield _Folder(
                path=entry.path,
                real=target,
                relative=f"{path}/",
                standing=standing,
                git=folder.git,
                own=folder.own,
                parent=folder,
            )

    def _take(self, path: str, real: str, link: str | None = None) -> None:
        wrong = path_problem(path)
        if wrong:
            self._problem(path, wrong)
            return
        try:
            status = os.stat(real)
        except FileNotFoundError:
            return  # deleted while we looked
        except OSError as error:
            self._problem(path, f"cannot be read: {error.strerror}")
            return
        executable = bool(status.st_mode & 0o100)
        self.files.append(Found(path, real, status.st_size, executable, link))

    def _problem(self, path: str, message: str, *, folder: bool = False) -> None:
        shown = path.encode("utf-8", "backslashreplace").decode()
        line = line_for(shown.rstrip("/"), folder=folder)
        self.problems.append(Problem(shown, message, f"mend it, or add {line} to {IGNORE_FILE}"))


def _because(match: tuple[PatternFile, Pattern]) -> str:
    file, pattern = match
    return f"{file.name}:{pattern.line}: {pattern.text}"


def _read(folder: str, name: str, seen: str, shown: str) -> tuple[PatternFile, ...]:
    path = os.path.join(folder, name)
    try:
        # A link could make what is bundled depend on a file elsewhere; git does not follow it.
        if os.path.islink(path):
            return ()
        with open(path, "rb") as file:
            patterns = parse_patterns(file.read())
    except OSError:
        return ()
    return (PatternFile(shown + name, len(os.fsencode(seen)), patterns),) if patterns else ()


def _work_tree(root: str) -> str:
    """The top of the git work tree around the repository; itself, if there is none."""
    for folder in (Path(root), *Path(root).parents):
        if (folder / ".git").exists() and folder != Path.home():
            return str(folder)
    return root


def _tracked_though_ignored(root: str) -> frozenset[str]:
    """Paths that git tracks although its rules would ignore them (``git add --force``)."""
    command = ["git", "ls-files", "-z", "--cached", "--ignored", "--exclude-standard"]
    if _work_tree(root) == root and not os.path.exists(os.path.join(root, ".git")):
        return frozenset()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(  # noqa: S603 - a fixed command
            command,
            cwd=root,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            capture_output=True,
            timeout=20,
            check=True,
        ).stdout
        return frozenset(os.fsdecode(path) for path in answer.split(b"\0") if path)
    return frozenset()
