"""The artifact store in a local (or mounted) folder."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from zenml.core.contracts._store import ArtifactStore, StoredObject, check_key
from zenml.core.errors import (
    ObjectNotFoundError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
)

__all__ = ["LocalArtifactStore"]

#: Marks a folder as a store. It must still be there when more is written: a store that vanished
#: (an unmounted disk) must not be made anew, empty, in its mount point.
MARKER = "zenml-store.json"
DRAFTS = ".drafts"

#: What a file or folder in the store may be called; anything else there is somebody else's.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class LocalArtifactStore(ArtifactStore):
    """Objects are files; each is drafted beside the others and then moved into place.

    Writes survive the end of the process at any moment. They are not flushed to the disk one by
    one: after a loss of power, an object that did not reach it is found by its digest, and redone.

    Args:
        url: ``file:///absolute/folder``, or a path.
    """

    scheme = "file"

    def __init__(self, url: str) -> None:
        self.root = Path(os.path.abspath(_folder(url)))
        super().__init__(self.root.as_uri())
        self._base = str(self.root)
        self._token = secrets.token_hex(4)
        self._count = itertools.count()

    # -- contract --------------------------------------------------------------------------------

    def prepare(self) -> None:
        drafts = os.path.join(self._base, DRAFTS)
        marked = os.path.exists(self._path(MARKER))
        # Whatever copies only objects leaves the empty folder of drafts behind.
        if marked and os.path.isdir(drafts):
            return
        with self._translated(MARKER):
            os.makedirs(drafts, exist_ok=True)
            if not marked:
                self._place(MARKER, b'{"layout":1}\n', replace=True)

    def read(self, key: str) -> bytes:
        try:
            with open(self._path(key), "rb") as file:
                return file.read()
        except OSError as error:
            raise self._error(error, key) from error

    def write(self, key: str, data: bytes) -> None:
        with self._translated(key):
            self._place(key, data, replace=True)

    def write_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with contextlib.suppress(OSError):
            # The writer relies on it from now on, so it is no longer old, as garbage would be.
            os.utime(path)
            return False
        if os.path.exists(path):
            return False
        with self._translated(key):
            return self._place(key, data, replace=False)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        try:
            yield from self._walk(folder, prefix, after)
        except OSError as error:
            raise self._error(error, prefix) from error

    def delete(self, key: str) -> None:
        with self._translated(key):
            try:
                os.unlink(self._path(key))
            except FileNotFoundError:
                if os.path.isdir(self._base):
                    return
                raise
            # Empty folders are not objects. Another writer may be filling this one, so only a
            # folder that is empty goes, and a writer that loses its folder makes it again.
            folder = os.path.dirname(key)
            with contextlib.suppress(OSError):
                while folder:
                    os.rmdir(os.path.join(self._base, folder))
                    folder = os.path.dirname(folder)

    def open(self, key: str) -> BinaryIO:
        try:
            return open(self._path(key), "rb")
        except OSError as error:
            raise self._error(error, key) from error

    def upload(self, key: str, path: Path) -> None:
        target = self._path(key)
        if not os.path.isfile(path):
            raise StoreError("there is no such file to upload", where=f"{path}, as {key}")
        with self._translated(key):
            if os.path.islink(path):
                # Moved, it would still be a name for a file that its owner may change.
                self._copy(path, target)
                return
            try:
                # Its age is counted from now on, whenever its bytes were written.
                os.utime(path)
                self._move(str(path), target, replace=True)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(path, target)

    def exists(self, key: str) -> bool:
        return os.path.isfile(self._path(key))

    def local_path(self, key: str) -> Path | None:
        path = Path(self._path(key))
        return path if path.is_file() else None

    # -- drafts ----------------------------------------------------------------------------------

    def stale_drafts(self, older_than: float) -> Iterator[Path]:
        """Drafts that killed processes left behind.

        Args:
            older_than: Only those last touched before this time, in seconds since 1970.
        """
        folder = os.path.join(self._base, DRAFTS)
        if not os.path.isdir(folder):
            return
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < older_than:
                    yield Path(entry.path)

    def drafts_folder(self) -> Path:
        """A folder on the same file system, from which a file moves into the store for free."""
        return self.root / DRAFTS

    # -- inside ----------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        return f"{self._base}/{check_key(key)}"

    def _draft(self) -> str:
        return f"{self._base}/{DRAFTS}/{self._token}-{os.getpid()}-{next(self._count)}"

    def _place(self, key: str, data: bytes, *, replace: bool) -> bool:
        draft = self._draft()
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view) :]
            finally:
                os.close(handle)
            return self._move(draft, self._path(key), replace=replace)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise

    def _copy(self, path: Path, target: str) -> None:
        draft = self._draft()
        try:
            shutil.copyfile(path, draft)
            self._move(draft, target, replace=True)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise

    def _move(self, draft: str, target: str, *, replace: bool) -> bool:
        """Give a finished draft its name; the one moment at which the object appears."""
        while True:
            try:
                if replace:
                    os.replace(draft, target)
                    return True
                try:
                    os.link(draft, target)
                except FileExistsError:
                    os.unlink(draft)
                    return False
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    # A file system without hard links: the check and the move are two steps.
                    if os.path.exists(target):
                        os.unlink(draft)
                        return False
                    os.replace(draft, target)
                    return True
                os.unlink(draft)
                return True
            except FileNotFoundError:
                # The object's folder is missing, or was a moment ago: others make it too, and
                # take it away with its last object. In what is no store (any more) none is made.
                if not os.path.exists(draft) or not os.path.isfile(self._path(MARKER)):
                    raise
                _make_folder(os.path.dirname(target))

    def _walk(self, folder: str, prefix: str, after: str | None) -> Iterator[StoredObject]:
        base = os.path.join(self._base, folder) if folder else self._base
        try:
            entries = list(os.scandir(base))
        except (FileNotFoundError, NotADirectoryError):
            if not os.path.isdir(self._base):
                raise
            return
        # By key, not by name: "a-b" comes before "a/b".
        named = sorted((e.name + "/" if e.is_dir() else e.name, e) for e in entries)
        for name, entry in named:
            key = f"{folder}/{name}" if folder else name
            if key == MARKER or not _NAME.fullmatch(entry.name):
                continue
            if name.endswith("/"):
                inside = key.startswith(prefix) or prefix.startswith(key)
                if inside and (after is None or after < key or after.startswith(key)):
                    yield from self._walk(key[:-1], prefix, after)
            elif key.startswith(prefix) and (after is None or key > after):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    when = datetime.fromtimestamp(status.st_mtime, timezone.utc)
                    yield StoredObject(key, status.st_size, when)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except (IsADirectoryError, NotADirectoryError) as error:
            if not os.path.isdir(self._base):
                raise self._error(error, key) from error
            raise StoreError(
                "one key cannot continue another: a folder holds files or folders by a name",
                where=f"{key} in {self.url}",
            ) from error
        except OSError as error:
            raise self._error(error, key) from error

    def _error(self, error: OSError, key: str) -> StoreError:
        where = f"{key} in {self.url}"
        if os.path.isfile(self._base):
            return StoreUnavailableError(
                "the path of the artifact store is a file",
                where=self.url,
                remedy="choose a folder: artifact_store=…, or 'zenml init --artifact-store'",
            )
        if not os.path.isdir(self._base) and error.errno not in _FULL | _READ_ONLY:
            return StoreUnavailableError(
                "the artifact store is not there",
                where=self.url,
                remedy="mount it again, or make a new one with 'zenml init'; what was committed "
                "before is not affected",
            )
        missing = isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError))
        if missing and not os.path.exists(self._path(MARKER)):
            return StoreUnavailableError(
                "the folder is not an artifact store, or no longer one",
                where=self.url,
                remedy="mount it again, or make a new one with 'zenml init'",
            )
        if missing:
            return ObjectNotFoundError("the artifact store has no such object", where=where)
        if error.errno in _FULL:
            return StoreFullError(
                "the artifact store is full; nothing half-written was left in it",
                where=where,
                remedy="free space ('zenml gc' shows what can go) and run again: finished steps "
                "are kept",
            )
        if error.errno in _READ_ONLY:
            return StoreReadOnlyError(
                "the artifact store cannot be written",
                where=where,
                remedy="mount it read-write, mend its permissions, or choose another with "
                "artifact_store=…",
            )
        return StoreUnavailableError(
            f"the artifact store failed: {error.strerror or error}",
            where=where,
            remedy="look at the disk or mount, and run again: finished steps are kept",
        )


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except (FileExistsError, FileNotFoundError):
        # Taken away again while it was made; the caller notices. But nothing helps against a file.
        if os.path.isfile(folder) or os.path.islink(folder):
            raise


def _folder(url: str) -> str:
    if "://" not in url:
        return os.path.expanduser(url)
    # Not urlsplit: "#" and "?" mean nothing in the name of a folder, and may stand in it.
    host, slash, path = url.partition("://")[2].partition("/")
    if host not in ("", "localhost"):
        raise StoreError(
            f"file://{host}/… names another machine",
            where=url,
            remedy="write file:///absolute/path, with three slashes",
        )
    return unquote(slash + path, errors="surrogateescape")
