"""Unpacks a bundle: all of it, checked, or nothing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from zenml.core.bundle._archive import read_archive
from zenml.core.bundle._budget import in_bytes
from zenml.core.bundle._manifest import (
    MANIFEST_LIMIT,
    MANIFEST_PATH,
    UNPACKED_PATH,
    BundleFile,
    BundleManifest,
)
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import (
    ConfigurationError,
    IntegrityError,
    Problem,
    StoreError,
    StoreFullError,
)

__all__ = ["archive_key", "unpack", "unpacked_manifest"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM}


def archive_key(digest: str) -> str:
    """Where the archive of a bundle is in any artifact store."""
    return f"code/{digest}.tar.gz"


def unpack(store: ArtifactStore, digest: str, target: Path) -> Path:
    """Unpack a bundle into a folder, which appears when all of it is there and checked.

    A folder that holds the bundle already is checked and left as it is; files that were added to it
    do not matter. Processes may unpack into one folder at the same time.

    Args:
        store: Where the bundle was uploaded.
        digest: The bundle's digest.
        target: The folder. Not there yet, or empty, or made by an earlier call. It must not be a
            mount point: it is put in place by renaming.

    Returns:
        The folder, as an absolute path.

    Raises:
        ObjectNotFoundError: the store has no such bundle.
        IntegrityError: the archive, or the folder that is there, is not what the digest stands for.
        ConfigurationError: the folder holds something else.
        StoreFullError: there is no space for it.
    """
    if not _DIGEST.fullmatch(digest):
        raise IntegrityError("not the digest of a code bundle", where=repr(digest))
    path = os.path.abspath(target)
    parent, name = os.path.split(path)
    draft = os.path.join(parent, f".{name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        if _is_unpacked(path, digest):
            return Path(path)
        os.makedirs(parent, exist_ok=True)
        os.mkdir(draft, 0o755)
        _extract(store, digest, draft)
        if not _put(draft, path):
            _is_unpacked(path, digest)  # another process was faster; what it made is checked too
        return Path(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(path) from error
        raise StoreError(
            f"the code cannot be unpacked: {error.strerror or error}",
            where=str(error.filename or path),
            remedy="choose another folder",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def unpacked_manifest(root: Path) -> BundleManifest | None:
    """What ``unpack`` put into a folder; None of a folder that it did not make.

    What has been added or changed there since is not looked at: it is no part of the code.
    """
    data = _read_marker(str(root))
    if data is None or not (root / UNPACKED_PATH).is_file():
        return None
    return BundleManifest.decode(data, hashlib.sha256(data).hexdigest())


def _extract(store: ArtifactStore, digest: str, draft: str) -> None:
    made = {draft}

    def write(manifest: BundleManifest, entry: BundleFile | None) -> BinaryIO:
        if entry is None and shutil.disk_usage(draft).free < manifest.size:
            raise _full(draft, manifest.size)
        path = os.path.join(draft, *(entry.path if entry else MANIFEST_PATH).split("/"))
        folder = os.path.dirname(path)
        if folder not in made:
            os.makedirs(folder, 0o755, exist_ok=True)
            made.add(folder)
        return _create(path, entry.mode if entry else 0o644)

    key = archive_key(digest)
    with store.open(key) as file:
        try:
            read_archive(file, digest, write)
        except IntegrityError as error:
            inside = f": {error.where}" if error.where else ""
            raise IntegrityError(
                error.message,
                where=f"{key} in {store.url}{inside}",
                remedy=error.remedy
                or "remove that object from the store and submit again: the code is uploaded anew",
            ) from error
    _create(os.path.join(draft, *UNPACKED_PATH.split("/")), 0o644).close()


def _create(path: str, mode: int) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), mode)
    except FileExistsError:
        # No name is in a manifest twice, so the file system takes two of them for one.
        raise StoreError(
            "two files of the code have names that this file system cannot tell apart",
            where=path,
            remedy="rename one of them",
        ) from None
    file = os.fdopen(handle, "wb")
    if hasattr(os, "fchmod"):
        os.fchmod(handle, mode)  # whatever the umask is
    return file


def _put(draft: str, path: str) -> bool:
    """Give the finished folder its name; False if another process was faster."""
    with contextlib.suppress(OSError):
        os.rmdir(path)  # an empty folder: not every system renames onto one
    try:
        os.rename(draft, path)
    except OSError as error:
        if error.errno in _TAKEN and os.path.isdir(path):
            return False
        raise
    return True


def _is_unpacked(path: str, digest: str) -> bool:
    """Whether the folder holds the bundle; False if there is no folder, or an empty one."""
    data = _read_marker(path)
    if data is None:
        try:
            if not os.listdir(path):
                return False
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            pass
        # It may have appeared between the two looks; it appears whole, so one more is enough.
        data = _read_marker(path)
    if data is None:
        problem = Problem(path, "is there already, and is not code that was unpacked")
        raise ConfigurationError("the code cannot be unpacked", [problem])
    if hashlib.sha256(data).hexdigest() != digest:
        problem = Problem(path, "holds other code", "choose another folder, or remove this one")
        raise ConfigurationError("the code cannot be unpacked", [problem])
    manifest = BundleManifest.decode(data, digest)
    for entry in manifest.files:
        if not _is_unchanged(os.path.join(path, *entry.path.split("/")), entry):
            raise IntegrityError(
                "a file of the unpacked code was changed",
                where=os.path.join(path, entry.path),
                remedy=f"remove the folder {path}; the code is unpacked again",
            )
    return True


def _read_marker(path: str) -> bytes | None:
    try:
        with open(os.path.join(path, *MANIFEST_PATH.split("/")), "rb") as file:
            return file.read(MANIFEST_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_unchanged(path: str, entry: BundleFile) -> bool:
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
            return False
        if os.name == "posix" and stat.S_IMODE(status.st_mode) != entry.mode:
            return False
        hasher = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(2**18):
                hasher.update(chunk)
    except OSError:
        return False
    return hasher.hexdigest() == entry.sha256


def _full(path: str, size: int | None = None) -> StoreFullError:
    return StoreFullError(
        f"no space to unpack the code{f', which needs {in_bytes(size)}' if size else ''}",
        where=path,
        remedy="free space, or choose a folder on another disk",
    )
