"""Bytes on their way into a bucket: whole or not at all, and compared by their crc32c."""

from __future__ import annotations

import contextlib
import os
import secrets
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from zenml.gcp._checksum import encoded

__all__ = ["send", "send_file"]

#: How often bytes are sent again that came damaged, or whose upload the service forgot.
_TRIES: Final = 3

#: Most bytes of a request; memory holds them meanwhile. Shards of datasets are no larger.
_CHUNK: Final = 64 << 20

#: What is larger is sent in parts of at least so many bytes, so many at a time.
_PART: Final = 32 << 20
_AT_ONCE: Final = 4

#: Cloud Storage composes an object of at most so many.
_MOST_PARTS: Final = 32

#: Where parts are, in the store's folder. No key begins with a dot.
_PARTS: Final = ".parts"


class _Range(NamedTuple):
    """Some bytes of a file, and their checksum."""

    begin: int
    size: int
    crc32c: str


def send(blob: Any, file: Any, size: int, crc32c: str, **how: Any) -> None:
    """Make a file the object. Raises what the client raises, ``DataCorruption`` included.

    Args:
        blob: The ``google.cloud.storage.Blob`` to write; it then has what the service says.
        file: What to send, from its beginning.
        size: Its bytes.
        crc32c: Their checksum, by which the service refuses what was damaged on the way.
        how: Further arguments of ``Blob.upload_from_file``.
    """
    from google.api_core.exceptions import BadRequest, NotFound
    from google.cloud.storage.exceptions import DataCorruption

    for _ in range(_TRIES):
        blob.chunk_size = _CHUNK
        blob.crc32c = crc32c
        try:
            blob.upload_from_file(
                file,
                rewind=True,
                size=size,
                content_type="application/octet-stream",
                checksum=None,  # after a resumable upload, the client deletes what differs
                crc32c_checksum_value=crc32c,
                **how,
            )
        except BadRequest as error:
            if "crc32c" not in str(error).lower():
                raise
            continue
        except NotFound as error:
            # An upload that was begun, unlike its bucket, may be gone.
            if error.response is None or error.response.request.method != "PUT":
                raise
            continue
        if blob.crc32c == crc32c:
            return
    raise DataCorruption(None, "the service holds other bytes than were sent")


def send_file(blob: Any, path: Path, folder: str, **how: Any) -> None:
    """Make a local file the object; a large one in parts, several at a time.

    Args:
        blob: The ``google.cloud.storage.Blob`` to write.
        path: The file.
        folder: The store's: what all names in it begin with.
        how: Further arguments of ``Blob.upload_from_file``.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= _CHUNK:
            send(blob, file, size, _ranges(file, None)[-1].crc32c, **how)
            return
        *ranges, whole = _ranges(file, max(_PART, -(-size // _MOST_PARTS)))
    token = secrets.token_hex(8)
    parts = [
        blob.bucket.blob(f"{folder}{_PARTS}/{token}-{number:02}", kms_key_name=blob.kms_key_name)
        for number in range(len(ranges))
    ]

    def send_part(part: Any, of: _Range) -> None:
        with path.open("rb") as file:
            send(part, _Window(file, of), of.size, of.crc32c, **how)

    def remove(part: Any) -> None:
        from google.api_core.exceptions import GoogleAPICallError
        from requests.exceptions import RequestException

        with contextlib.suppress(GoogleAPICallError, RequestException, OSError):
            part.bucket.blob(part.name).delete(**how)

    with ThreadPoolExecutor(_AT_ONCE, "zenml-gcs") as pool:
        try:
            sent = [pool.submit(send_part, *both) for both in zip(parts, ranges, strict=True)]
            try:
                for one in sent:
                    one.result()
            finally:
                for one in sent:
                    one.cancel()
                wait(sent)
            _compose(blob, parts, whole.crc32c, **how)
        finally:
            list(pool.map(remove, parts))


def _compose(blob: Any, parts: list[Any], crc32c: str, **how: Any) -> None:
    from google.cloud.storage.exceptions import DataCorruption

    blob.content_type = "application/octet-stream"
    blob.compose(parts, **how)
    if blob.crc32c != crc32c:
        raise DataCorruption(None, "the service holds other bytes than were sent")


def _ranges(file: BinaryIO, size: int | None) -> list[_Range]:
    """The ranges of a file, each of so many bytes, and at last the whole of it."""
    from google_crc32c import Checksum

    found: list[_Range] = []
    whole, part = Checksum(), Checksum()
    begin = read = 0
    while chunk := file.read(1 << 20):
        whole.update(chunk)
        read += len(chunk)
        if size is not None:
            part.update(chunk)
            if read - begin >= size:
                found.append(_Range(begin, read - begin, encoded(part)))
                begin, part = read, Checksum()
    if size is not None and read > begin:
        found.append(_Range(begin, read - begin, encoded(part)))
    return [*found, _Range(0, read, encoded(whole))]


class _Window:
    """A range of a file, as a file."""

    def __init__(self, file: BinaryIO, of: _Range) -> None:
        self._file, self._of = file, of
        self.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = self._of.begin if whence == os.SEEK_SET else self._of.begin + self._of.size
        return self._file.seek(base + offset) - self._of.begin

    def tell(self) -> int:
        return self._file.tell() - self._of.begin

    def read(self, size: int = -1) -> bytes:
        left = self._of.size - self.tell()
        return self._file.read(left if size < 0 else min(size, left))
