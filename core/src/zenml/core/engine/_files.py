"""The bytes behind artifacts, as steps, units and formats see them."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from zenml.core._canonical import sha256
from zenml.core.contracts._artifact import Blob
from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._records import process_lives
from zenml.core.errors import IntegrityError, ObjectNotFoundError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StoreFiles", "scratch_is_in_use"]

_CHUNK = 1 << 20

#: Bytes that were stored longer ago are stored again, to count as new: 'zenml gc' keeps what is
#: younger than an hour.
_RENEW_AFTER = timedelta(minutes=10)

#: Files that this process has checked already: path to (size, time of change, inode).
_checked: dict[str, tuple[int, int, int]] = {}


class StoreFiles:
    """Implements ``Files`` on an artifact store; made for one step or unit, closed after it."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._scratch: Path | None = None
        self._lock = threading.Lock()

    @property
    def scratch(self) -> Path:
        """An empty local folder, on the store's own disk where it has one: moving in is free."""
        with self._lock:
            if self._scratch is None:
                near = getattr(self._store, "drafts_folder", None)
                try:
                    folder = near() if near is not None and near().is_dir() else None
                    self._scratch = Path(tempfile.mkdtemp(prefix=_scratch_prefix(), dir=folder))
                except OSError:
                    # The store cannot be written, and says so better when it is: until then, the
                    # system's own folder does, which is also all that reading needs.
                    self._scratch = Path(tempfile.mkdtemp(prefix=_scratch_prefix()))
            return self._scratch

    def put(self, path: Path) -> Blob:
        """Move a file into the store under the digest of its bytes."""
        with open(path, "rb") as file:
            blob = Blob(_hash(file), os.fstat(file.fileno()).st_size)
        # Where the store is a folder, moving is free, and mends bytes that may be damaged.
        stored = self._store.local_path(blob.key)
        if stored is not None or not self._has(blob, within=_RENEW_AFTER):
            self._store.upload(blob.key, path)
        if stored is not None:
            _checked[str(stored)] = _stamp(stored)
        return blob

    def put_bytes(self, data: bytes) -> Blob:
        """Store some bytes under their digest."""
        blob = Blob(sha256(data), len(data))
        if self._store.local_path(blob.key) is not None:
            self._store.write(blob.key, data)  # as in put()
        elif not self._store.write_if_absent(blob.key, data) and not self._has(blob):
            self._store.write(blob.key, data)
        return blob

    def _has(self, blob: Blob, within: timedelta | None = None) -> bool:
        """Whether the store has as many bytes under that digest: an upload may have been torn.

        Args:
            blob: The digest and the number of bytes.
            within: How long ago they may have been stored.
        """
        if not self._store.exists(blob.key):
            return False
        oldest = None if within is None else datetime.now(timezone.utc) - within
        found = (item for item in self._store.list(blob.key) if item.key == blob.key)
        return any(
            item.size == blob.size and (oldest is None or item.modified > oldest) for item in found
        )

    def fetch(self, blob: Blob) -> Path:
        """A local file with these bytes; each is checked once per process."""
        path = self._store.local_path(blob.key)
        if path is None:
            path = self.scratch / f"blob-{blob.digest}"
            if not path.exists():
                draft = path.with_name(f"{path.name}.{threading.get_ident()}.tmp")
                try:
                    with self._store.open(blob.key) as source, open(draft, "wb") as target:
                        shutil.copyfileobj(source, target, _CHUNK)
                except ObjectNotFoundError as error:
                    raise self._damaged("stored bytes are missing", blob) from error
                os.replace(draft, path)
        self._check(path, blob)
        return path

    def _check(self, path: Path, blob: Blob) -> None:
        stamp = _stamp(path)
        if _checked.get(str(path)) == stamp:
            return
        with open(path, "rb") as file:
            found = _hash(file)
        if found != blob.digest:
            what = f"stored bytes are damaged: expected {blob.digest[:12]}, found {found[:12]}"
            raise self._damaged(what, blob)
        _checked[str(path)] = stamp

    def _damaged(self, what: str, blob: Blob) -> IntegrityError:
        return IntegrityError(
            what,
            where=f"{blob.key} in {self._store.url}",
            remedy="find what holds it with 'zenml artifact list', remove that with "
            "'zenml artifact rm DIGEST' and run again",
        )

    def close(self) -> None:
        """Remove the scratch folder."""
        with self._lock:
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
                self._scratch = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _scratch_prefix() -> str:
    return f"scratch-{sha256(socket.gethostname().encode())[:8]}-{os.getpid()}-"


def scratch_is_in_use(name: str) -> bool:
    """Whether a scratch folder of that name belongs to a living process of this machine."""
    prefix, _, rest = name.partition("-")
    host, _, rest = rest.partition("-")
    pid = rest.partition("-")[0]
    if prefix != "scratch" or host != _scratch_prefix().split("-")[1] or not pid.isdigit():
        return False
    return process_lives(int(pid))


def _stamp(path: Path) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino


def _hash(file: BinaryIO) -> str:
    hasher = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        hasher.update(chunk)
    return hasher.hexdigest()
