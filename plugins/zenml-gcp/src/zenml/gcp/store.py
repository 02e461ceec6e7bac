"""The artifact store in a bucket of Google Cloud Storage."""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from zenml.core import ArtifactStore, StoredObject, check_key
from zenml.core.errors import StoreError
from zenml.gcp._bucket import connect, damaged, patience, translated
from zenml.gcp._checksum import crc32c
from zenml.gcp._location import Location
from zenml.gcp._reading import ObjectReader, fetch
from zenml.gcp._writing import send, send_file

__all__ = ["GCSArtifactStore"]

#: In an object's metadata: who wrote it, and when somebody came to rely on it later.
_WRITER: Final = "zenml-writer"
_RENEWED: Final = "zenml-renewed"

#: An object that somebody comes to rely on counts as new, well before 'zenml gc' may take it, which
#: is after an hour.
_RENEW_AFTER: Final = timedelta(minutes=10)

#: How often an object is written anew that was there and is gone again, or came damaged.
_ROUNDS: Final = 10

#: What an object in the store may be called; anything else there is somebody else's.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class GCSArtifactStore(ArtifactStore):
    """Objects of a bucket, or of a folder in one.

    Credentials are application default credentials. Where ``STORAGE_EMULATOR_HOST`` names an
    emulator, it is used, without any. Requests that fail are tried again for a while; bytes are
    compared by their crc32c both ways.

    Args:
        url: ``gs://bucket/folder``. Behind it may stand ``?name=value&name=value``:
            ``user_project``, which pays where the bucket has its requester pay; ``kms_key_name``
            (``projects/…/locations/…/keyRings/…/cryptoKeys/…``), which encrypts what is written;
            ``impersonate_service_account``; ``api_endpoint``, for private endpoints; ``deadline``,
            the seconds for which a request is tried again (120).
    """

    scheme = "gs"

    def __init__(self, url: str) -> None:
        self._location = Location.parse(url)
        super().__init__(self._location.url)
        self._connecting = threading.Lock()
        self._connected: tuple[int, Any] | None = None

    # -- contract --------------------------------------------------------------------------------

    def prepare(self) -> None:
        """See ``ArtifactStore.prepare``; of a bucket it asks whether it is there."""
        # Not the bucket's own metadata, which those who may use its objects need not see.
        with translated(self._location, ""):
            found = self._bucket().list_blobs(
                prefix=self._location.folder, max_results=1, fields="items(name)", **self._patience
            )
            try:
                next(iter(found), None)
            except _errors().NotFound:
                raise _errors().NotFound("the bucket does not exist") from None

    def read(self, key: str) -> bytes:
        """See ``ArtifactStore.read``."""
        name = self._name(key)
        with translated(self._location, key):
            return fetch(lambda: self._bucket().blob(name), **self._patience)

    def write(self, key: str, data: bytes) -> None:
        """See ``ArtifactStore.write``."""
        name = self._name(key)
        with translated(self._location, key, writing=True):
            self._put(name, data)

    def write_if_absent(self, key: str, data: bytes) -> bool:
        """See ``ArtifactStore.write_if_absent``."""
        name = self._name(key)
        token, generation = secrets.token_hex(16), 0
        with translated(self._location, key, writing=True):
            for left in reversed(range(_ROUNDS)):
                try:
                    self._put(name, data, {_WRITER: token}, if_generation_match=generation)
                    return True
                except _errors().PreconditionFailed:
                    # Somebody was first. That may be this very call, whose answer was lost.
                    found = self._look(name)
                    if found is None and not left:
                        raise  # it is another condition that is not met
                if found is None:
                    generation = 0  # and it is gone again
                elif (found.metadata or {}).get(_WRITER) != token:
                    self._renew(found)
                    return False
                elif found.crc32c == crc32c(data):
                    return True
                else:
                    generation = found.generation  # ours, and damaged on the way
        raise damaged(f"{key} in {self.url}")

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        """See ``ArtifactStore.list``."""
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        base = self._location.folder
        with translated(self._location, prefix):
            found = self._bucket().list_blobs(
                prefix=base + prefix,
                start_offset=None if after is None else base + after,
                fields="items(name,size,updated),nextPageToken",
                **self._patience,
            )
            for blob in found:
                key = blob.name[len(base) :]
                if key != after and _NAME.fullmatch(key):
                    yield StoredObject(key, blob.size, blob.updated)

    def delete(self, key: str) -> None:
        """See ``ArtifactStore.delete``."""
        name = self._name(key)
        with translated(self._location, key, writing=True):
            try:
                self._bucket().blob(name).delete(**self._patience)
            except _errors().NotFound:
                return

    def open(self, key: str) -> BinaryIO:
        """See ``ArtifactStore.open``."""
        name = self._name(key)
        with translated(self._location, key):
            raw = ObjectReader(
                lambda: self._bucket().blob(name),
                lambda: translated(self._location, key),
                f"{key} in {self.url}",
                **self._patience,
            )
        return cast("BinaryIO", io.BufferedReader(raw, 1 << 20))

    def upload(self, key: str, path: Path) -> None:
        """See ``ArtifactStore.upload``."""
        name = self._name(key)
        if not os.path.isfile(path):
            raise StoreError("there is no such file to upload", where=f"{path}, as {key}")
        with translated(self._location, key, writing=True):
            send_file(self._blob(name), Path(path), self._location.folder, **self._patience)

    def exists(self, key: str) -> bool:
        """See ``ArtifactStore.exists``."""
        name = self._name(key)
        with translated(self._location, key):
            return bool(self._bucket().blob(name).exists(**self._patience))

    # -- inside ----------------------------------------------------------------------------------

    @property
    def _patience(self) -> dict[str, Any]:
        return patience(self._location)

    def _bucket(self) -> Any:
        """The bucket; a process that was forked makes connections of its own."""
        known = self._connected
        if known is None or known[0] != os.getpid():
            with self._connecting:
                known = self._connected
                if known is None or known[0] != os.getpid():
                    known = self._connected = (os.getpid(), connect(self._location))
        return known[1]

    def _name(self, key: str) -> str:
        return self._location.folder + check_key(key)

    def _blob(self, name: str) -> Any:
        return self._bucket().blob(name, kms_key_name=self._location.kms_key_name)

    def _put(
        self, name: str, data: bytes, metadata: dict[str, str] | None = None, **conditions: Any
    ) -> None:
        blob = self._blob(name)
        blob.metadata = metadata
        send(blob, io.BytesIO(data), len(data), crc32c(data), **conditions, **self._patience)

    def _look(self, name: str) -> Any:
        """What the service says of an object, as a Blob; None if there is none."""
        blob = self._bucket().blob(name)
        try:
            blob.reload(**self._patience)
        except _errors().NotFound:
            return None
        return blob

    def _renew(self, blob: Any) -> None:
        """Have an object count as new. Whether that succeeds changes nothing for now."""
        now = datetime.now(timezone.utc)
        if now - blob.updated > _RENEW_AFTER:
            blob.metadata = {**(blob.metadata or {}), _RENEWED: now.isoformat()}
            with contextlib.suppress(_errors().GoogleAPICallError):
                blob.patch(**self._patience)


def _errors() -> Any:
    from google.api_core import exceptions

    return exceptions
