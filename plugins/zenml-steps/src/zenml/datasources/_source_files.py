"""Files that a datasource reads: found by path, folder, glob or URL; opened and digested."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import translate
from typing import Any, BinaryIO, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from zenml.core.errors import DataError, ObjectNotFoundError, StoreError

__all__ = [
    "FileBelow",
    "SourceFile",
    "changed_since",
    "digest",
    "find_below",
    "find_files",
    "stamp",
]

_WILDCARD = re.compile(r"[*?\[]")
_CHUNK: Final = 1 << 20
_PART: Final = 16 << 20
#: A file that changed later than this before it was read may change again without a new time stamp.
_SETTLED: Final = 2.0

_digests: dict[str, tuple[tuple[int, int, int], str]] = {}


class SourceFile(NamedTuple):
    """One file, wherever it is: plain data, so that it can be part of a unit's payload.

    Attributes:
        path: A local path, or the key in ``store``.
        store: URL of the artifact store that holds it; None for a local file.
    """

    path: str
    store: str | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.store.rstrip('/')}/{self.path}" if self.store else self.path

    def open(self) -> BinaryIO:
        """The file's bytes, seekable. Raises ``DataError``."""
        if self.store is not None:
            from zenml.core import open_store

            try:
                return open_store(self.store).open(self.path)
            except ObjectNotFoundError as error:
                raise _missing(self.name) from error
        try:
            return open(self.path, "rb")
        except FileNotFoundError as error:
            raise _missing(self.name) from error
        except OSError as error:
            raise _unreadable(self.name, error) from error


class FileBelow(NamedTuple):
    """A file in a folder, at any depth.

    Attributes:
        path: Its path below the folder, with ``/``.
        source: The file.
        size: In bytes.
    """

    path: str
    source: SourceFile
    size: int


def find_files(path: str, suffixes: tuple[str, ...]) -> list[SourceFile]:
    """The files that ``path`` stands for, in order. Raises ``DataError`` if there is none.

    Args:
        path: File, folder, glob or URL.
        suffixes: Which files of a folder are meant; any file can be named.
    """
    if "://" in path:
        if not path.startswith("file://"):
            return _in_store(path, suffixes)
        path = unquote(urlsplit(path).path)
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        try:
            found = [entry.path for entry in os.scandir(path) if entry.is_file()]
        except OSError as error:
            raise _unreadable(path, error) from error
        found = [file for file in found if _is_wanted(os.path.basename(file), suffixes)]
        if not found:
            raise DataError(
                f"the folder holds no {suffixes[0][1:].upper()} file",
                where=os.path.abspath(path),
                remedy=f"files ending in {', '.join(suffixes)} are read; for others give a glob "
                "such as 'folder/*.txt'",
            )
    elif os.path.exists(path):
        found = [path]
    elif _WILDCARD.search(path):
        found = [file for file in glob.glob(path, recursive=True) if os.path.isfile(file)]
        if not found:
            raise DataError(
                "no file matches the pattern",
                where=os.path.abspath(path),
                remedy="relative patterns start at the current folder: see it with 'pwd'",
            )
    else:
        raise _missing(os.path.abspath(path))
    # Separators sort first, so that the order is the same whatever else a name contains.
    return [SourceFile(os.path.abspath(file)) for file in sorted(found, key=_parts)]


def _parts(path: str) -> list[str]:
    return os.path.abspath(path).split(os.sep)


def _is_wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not name.startswith((".", "_"))


def _in_store(url: str, suffixes: tuple[str, ...]) -> list[SourceFile]:
    from zenml.core import open_store

    scheme, _, rest = url.partition("://")
    bucket, _, pattern = rest.partition("/")
    fixed = _WILDCARD.split(pattern, maxsplit=1)[0]
    root = f"{scheme}://{bucket}"
    prefix, base = fixed, root
    if not _WILDCARD.search(pattern):
        folder, _, prefix = pattern.rstrip("/").rpartition("/")
        base = f"{root}/{folder}" if folder else root
    store = open_store(base)
    try:
        keys = [found.key for found in store.list(prefix)]
    except StoreError as error:
        raise DataError(
            f"the files cannot be listed: {error.message}", where=url, remedy=error.remedy
        ) from error
    if _WILDCARD.search(pattern):
        # As with local files, a star stays inside one folder and two stars do not.
        expression = re.compile(
            "".join(
                ".*/?" if piece.startswith("**") else translate(piece)[4:-3].replace(".*", "[^/]*")
                for piece in re.split(r"(\*\*/?)", pattern)
            )
        )
        keys = [key for key in keys if expression.fullmatch(key)]
    elif prefix in keys:
        keys = [prefix]
    else:
        inside = f"{prefix}/" if prefix else ""
        names = [key[len(inside) :] for key in keys if key.startswith(inside)]
        names = [name for name in names if "/" not in name and _is_wanted(name, suffixes)]
        keys = [f"{inside}{name}" for name in names]
    if not keys:
        raise _missing(url)
    return [SourceFile(key, base) for key in sorted(keys, key=lambda key: key.split("/"))]


def find_below(folder: str) -> list[FileBelow]:
    """All files in a folder and in those inside it, in order; hidden ones are left out.

    Raises ``DataError`` if there is no such folder.
    """
    if "://" in folder and not folder.startswith("file://"):
        return _below_in_store(folder)
    if folder.startswith("file://"):
        folder = unquote(urlsplit(folder).path)
    root = os.path.abspath(os.path.expanduser(folder))
    if not os.path.isdir(root):
        raise DataError(
            "there is no such folder",
            where=root,
            remedy="check the path; a step that runs on another machine needs a path or URL that "
            "this machine can read, such as one in a bucket",
        )
    found = []
    seen = {os.path.realpath(root)}
    pending = [(root, "")]
    while pending:
        place, above = pending.pop()
        try:
            for entry in os.scandir(place):
                path = above + entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_file():
                    found.append(FileBelow(path, SourceFile(entry.path), entry.stat().st_size))
                elif entry.is_dir() and (real := os.path.realpath(entry.path)) not in seen:
                    seen.add(real)  # links could lead round in a circle
                    pending.append((entry.path, f"{path}/"))
        except OSError as error:
            raise _unreadable(place, error) from error
    return sorted(found, key=lambda file: file.path.split("/"))


def _below_in_store(url: str) -> list[FileBelow]:
    from zenml.core import open_store

    base = url.rstrip("/")
    try:
        listed = list(open_store(base).list(""))
    except StoreError as error:
        raise DataError(
            f"the files cannot be listed: {error.message}", where=url, remedy=error.remedy
        ) from error
    if not listed:
        raise _missing(url)
    found = [FileBelow(item.key, SourceFile(item.key, base), item.size) for item in listed]
    return sorted(found, key=lambda file: file.path.split("/"))


def stamp(file: SourceFile) -> Any:
    """What changes when a local file is written to; None for a file in a store."""
    if file.store is not None:
        return None
    try:
        status = os.stat(file.path)
    except OSError:
        return (0, 0, 0)
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def changed_since(stamps: Mapping[SourceFile, Any]) -> SourceFile | None:
    """The first file that is not what it was when ``stamp`` was called, if any."""
    return next((file for file, before in stamps.items() if stamp(file) != before), None)


def digest(file: SourceFile) -> str:
    """What a file's bytes are told by. Raises ``DataError``.

    The SHA-256 of the SHA-256s of its parts of 16 MiB, so that all processors can take part. A
    process that builds a plan and then runs it reads an unchanged file only once for this.
    """
    before = stamp(file)
    known = _digests.get(file.path)
    if before is not None and known is not None and known[0] == before:
        return known[1]
    try:
        parts = _digests_of_stream(file) if before is None else _digests_in_threads(file, before[0])
    except OSError as error:
        raise _unreadable(file.name, error) from error
    found = hashlib.sha256(b"".join(parts)).hexdigest()
    settled = before is not None and time.time() - before[1] / 1e9 > _SETTLED
    if settled and stamp(file) == before:
        _digests[file.path] = (before, found)
    return found


def _digests_of_stream(file: SourceFile) -> list[bytes]:
    """The digests of a file's parts, one after another."""
    with file.open() as stream:
        parts = []
        while part := _digest_of_part(stream):
            parts.append(part)
        return parts


def _digests_in_threads(file: SourceFile, size: int) -> list[bytes]:
    """The digests of a local file's parts."""

    def digest_at(start: int) -> bytes:
        with file.open() as stream:
            stream.seek(start)
            return _digest_of_part(stream)

    starts = range(0, size, _PART)
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, len(starts)))) as pool:
        return list(pool.map(digest_at, starts))


def _digest_of_part(stream: BinaryIO) -> bytes:
    """The SHA-256 of up to 16 MiB; empty at the end."""
    hasher = hashlib.sha256()
    left = _PART
    while left and (chunk := stream.read(min(_CHUNK, left))):
        hasher.update(chunk)
        left -= len(chunk)
    return hasher.digest() if left < _PART else b""


def _missing(name: str) -> DataError:
    return DataError(
        "the file is not there",
        where=name,
        remedy="check the path; a step that runs on another machine needs a path or URL that this "
        "machine can read, such as one in a bucket",
    )


def _unreadable(name: str, error: OSError) -> DataError:
    return DataError(
        f"the file cannot be read: {error.strerror or error}",
        where=name,
        remedy="check its permissions, and the disk or mount that it is on",
    )
