"""The bytes behind artifacts, as steps, units and formats see them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from zenml.core._canonical import sha256
from zenml.core.contracts._artifact import Blob
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import IntegrityError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StoreFiles"]

_CHUNK = 1 << 20

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
                folder = near() if near is not None and near().is_dir() else None
                self._scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=folder))
            return self._scratch

    def put(self, path: Path) -> Blob:
        """Move a file into the store under the digest of its bytes."""
        with open(path, "rb") as file:
            blob = Blob(_hash(file), os.fstat(file.fileno()).st_size)
        if not self._store.exists(blob.key):
            self._store.upload(blob.key, path)
        return blob

    def put_bytes(self, data: bytes) -> Blob:
        """Store some bytes under their digest."""
        blob = Blob(sha256(data), len(data))
        self._store.write_if_absent(blob.key, data)
        return blob

    def fetch(self, blob: Blob) -> Path:
        """A local file with these bytes; each is checked once per process."""
        path = self._store.local_path(blob.key)
        if path is None:
            path = self.scratch / f"blob-{blob.digest}"
            if not path.exists():
                draft = path.with_name(f"{path.name}.{threading.get_ident()}.tmp")
                with self._store.open(blob.key) as source, open(draft, "wb") as target:
                    shutil.copyfileobj(source, target, _CHUNK)
                os.replace(draft, path)
        self._check(path, blob)
        return path

    def _check(self, path: Path, blob: Blob) -> None:
        status = os.stat(path)
        stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
        if _checked.get(str(path)) == stamp:
            return
        with open(path, "rb") as file:
            found = _hash(file)
        if found != blob.digest:
            raise IntegrityError(
                f"stored bytes are damaged: expected digest {blob.digest[:12]}, found {found[:12]}",
                where=f"{blob.key} in {self._store.url}",
                remedy="find what holds it with 'zenml artifact list', remove that with "
                "'zenml artifact rm DIGEST' and run again",
            )
        _checked[str(path)] = stamp

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


def _hash(file: BinaryIO) -> str:
    hasher = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        hasher.update(chunk)
    return hasher.hexdigest()
