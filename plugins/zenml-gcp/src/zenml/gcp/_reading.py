"""Bytes on their way out of a bucket: a whole object, or what is wanted of a large one."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Final

from zenml.core.errors import StoreUnavailableError
from zenml.gcp._checksum import crc32c, encoded

__all__ = ["ObjectReader", "fetch"]

#: How often damaged bytes are asked for again.
_TRIES: Final = 3

#: Bytes of a request for a part of an object.
_CHUNK: Final = 8 << 20

#: Requests that are under way before their bytes are wanted, where a file is read on and on.
_AHEAD: Final = 4

#: And of all files that a process reads at the same time.
_SPARE: Final = threading.BoundedSemaphore(8)


def fetch(blob: Callable[[], Any], **how: Any) -> bytes:
    """A whole object. Raises what the client raises, ``DataCorruption`` included.

    Args:
        blob: Makes a ``google.cloud.storage.Blob`` of it, for each try: one that was read stands
            for that generation only.
        how: Further arguments of ``Blob.download_to_file``.
    """
    from google.cloud.storage.exceptions import DataCorruption

    for _ in range(_TRIES):
        found = blob()
        data = _download(found, None, None, **how)
        if found.crc32c in (None, crc32c(data)):
            return data
    raise DataCorruption(None, "other bytes came than the service holds")


class ObjectReader(io.RawIOBase):
    """One generation of an object as a seekable file; memory holds a few parts of it.

    Whoever reads from the beginning to the end has compared the whole object with its crc32c.

    Args:
        blob: Makes a ``google.cloud.storage.Blob`` of the object.
        translated: Makes StoreErrors of what the client raises while the file is read.
        where: What it is, for errors.
        how: Further arguments of ``Blob.download_to_file``.

    Raises:
        NotFound: there is no such object.
        DataCorruption: other bytes came than the service holds.
    """

    def __init__(
        self,
        blob: Callable[[], Any],
        translated: Callable[[], AbstractContextManager[None]],
        where: str,
        **how: Any,
    ) -> None:
        super().__init__()
        from google.cloud.storage.exceptions import DataCorruption
        from google_crc32c import Checksum

        self._translated, self._where, self._how = translated, where, how
        self._position = 0
        for _ in range(_TRIES):
            self._blob = blob()
            self._part, self._held = 0, self._first()
            # Most objects have one part, which can be asked for again.
            if len(self._held) < _CHUNK:
                self._size = len(self._held)
                if self._blob.crc32c in (None, crc32c(self._held)):
                    return
            else:
                self._blob.reload(**how)
                self._size = self._blob.size
                self._ahead: dict[int, Future[bytes]] = {}
                self._pool: ThreadPoolExecutor | None = None
                self._parts = -(-self._size // _CHUNK)
                self._checksum, self._summed = Checksum(self._held), 1
                return
        raise DataCorruption(None, "other bytes came than the service holds")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("there is nothing before the beginning of an object")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._position >= self._size:
            return 0
        part, begin = divmod(self._position, _CHUNK)
        if part != self._part:
            with self._translated():
                self._hold(part)
        count = min(len(view), len(self._held) - begin)
        view[:count] = memoryview(self._held)[begin : begin + count]
        self._position += count
        return count

    def close(self) -> None:
        pool = None if self.closed else getattr(self, "_pool", None)
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        super().close()

    # -- inside ----------------------------------------------------------------------------------

    def _first(self) -> bytes:
        from google.api_core.exceptions import RequestRangeNotSatisfiable

        try:
            return _download(self._blob, 0, _CHUNK - 1, **self._how)
        except RequestRangeNotSatisfiable:
            return b""  # an object without any byte has no range either

    def _hold(self, part: int) -> None:
        """Have a part at hand, and the next ones under way if this is the next one itself."""
        from google.api_core.exceptions import NotFound
        from google.cloud.storage.exceptions import DataCorruption

        asked = self._ahead.pop(part, None)
        if part == self._part + 1:
            self._ask_ahead(part)
        else:
            for unwanted in self._ahead.values():
                unwanted.cancel()
            self._ahead.clear()
        try:
            held = self._fetch(part) if asked is None else asked.result()
        except NotFound:
            raise StoreUnavailableError(
                "the object was replaced or deleted while it was read",
                where=self._where,
                remedy="run again",
            ) from None
        if len(held) != min(_CHUNK, self._size - part * _CHUNK):
            raise DataCorruption(None, "fewer bytes came than the service holds")
        if part == self._summed:
            self._checksum.update(held)
            self._summed += 1
            if self._summed == self._parts and self._blob.crc32c not in (
                None,
                encoded(self._checksum),
            ):
                raise DataCorruption(None, "other bytes came than the service holds")
        self._part, self._held = part, held

    def _ask_ahead(self, part: int) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AHEAD, "zenml-gcs")
        for later in range(part + 1, min(part + 1 + _AHEAD, self._parts)):
            if later not in self._ahead and _SPARE.acquire(blocking=False):
                self._ahead[later] = asked = self._pool.submit(self._fetch, later)
                asked.add_done_callback(lambda _: _SPARE.release())

    def _fetch(self, part: int) -> bytes:
        begin = part * _CHUNK
        # A blob of its own: the client writes into it what it has seen.
        blob = self._blob.bucket.blob(self._blob.name, generation=self._blob.generation)
        return _download(blob, begin, min(begin + _CHUNK, self._size) - 1, **self._how)


def _download(blob: Any, start: int | None, end: int | None, **how: Any) -> bytes:
    """The bytes of an object from ``start`` to ``end``, the last one included.

    The blob then says which generation of the object that was, and what its crc32c is.
    """
    pieces = _Pieces()
    blob.download_to_file(
        pieces,
        start=start,
        end=end,
        raw_download=True,
        checksum=None,  # the client compares none where it had to ask twice
        single_shot_download=True,
        **how,
    )
    return b"".join(pieces)


class _Pieces(list[bytes]):
    """A file that only remembers what was written to it."""

    def write(self, data: bytes) -> int:
        self.append(data)
        return len(data)
