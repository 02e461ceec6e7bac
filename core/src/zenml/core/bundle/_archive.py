"""The archive: one layout, to the byte.

A gzipped POSIX tar (pax) that any ``tar`` unpacks: the manifest first, then the files in its order.
Every byte of the tar but the contents follows from the manifest, so a reader need not interpret an
archive that it has no reason to trust: it compares. Links, devices, other names, other sizes, a
member more or less: each is a byte that differs.

Written here instead of by ``tarfile``, whose headers differ between Python versions, and whose
reader allocates what a header tells it to.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from zenml.core.bundle._manifest import MANIFEST_LIMIT, MANIFEST_PATH, BundleFile, BundleManifest
from zenml.core.errors import IntegrityError, SourceChangedError

__all__ = ["read_archive", "write_archive"]

_BLOCK = 512
_CHUNK = 2**18
_END = bytes(2 * _BLOCK)

#: 1980-01-01 in UTC: the first moment that every archive format can hold.
_MTIME = 315532800


def write_archive(root: Path, manifest: BundleManifest, out: BinaryIO) -> None:
    """Write the archive of a manifest, one chunk at a time.

    Raises:
        SourceChangedError: a file is no longer what the manifest says.
    """
    # Neither name nor time: an archive that is made twice is one archive.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=out, mtime=0) as zipped:
        data = manifest.encoded
        zipped.write(_header(MANIFEST_PATH, len(data), 0o644) + data + _padding(len(data)))
        for entry in manifest.files:
            zipped.write(_header(entry.path, entry.size, entry.mode))
            _write_content(root, entry, zipped)
            zipped.write(_padding(entry.size))
        zipped.write(_END)


def _write_content(root: Path, entry: BundleFile, zipped: gzip.GzipFile) -> None:
    hasher = hashlib.sha256()
    left = entry.size
    try:
        with open(os.path.join(root, entry.path), "rb", buffering=0) as file:
            while left and (chunk := file.read(min(left, _CHUNK))):
                hasher.update(chunk)
                zipped.write(chunk)
                left -= len(chunk)
            more = file.read(1)
    except OSError as error:
        raise _changed(entry.path) from error
    if left or more or hasher.hexdigest() != entry.sha256:
        raise _changed(entry.path)


def _changed(path: str) -> SourceChangedError:
    return SourceChangedError(
        "a file changed while the code was bundled",
        where=path,
        remedy="run again when nothing writes there; leave out what a program writes to, "
        "in .zenmlignore",
    )


def read_archive(
    file: BinaryIO, digest: str, write: Callable[[BundleManifest, BundleFile | None], BinaryIO]
) -> BundleManifest:
    """Read an archive and compare every byte of it with what its digest stands for.

    Args:
        file: The archive. Nothing in it is trusted.
        digest: Digest of the manifest.
        write: Opens a place for the content of one file; called first with None, for the manifest.
            Never given more bytes than the manifest says.

    Raises:
        IntegrityError: it is not the archive of that digest. Some files may have been written.
    """
    reader = _Reader(file)
    data = _read_manifest(reader)
    manifest = BundleManifest.decode(data, digest)
    with write(manifest, None) as target:
        target.write(data)
    for entry in manifest.files:
        reader.expect(_header(entry.path, entry.size, entry.mode), f"{entry.path!r} was expected")
        hasher = hashlib.sha256()
        left = entry.size
        with write(manifest, entry) as target:
            while left:
                chunk = reader.take(min(left, _CHUNK))
                hasher.update(chunk)
                target.write(chunk)
                left -= len(chunk)
        if hasher.hexdigest() != entry.sha256:
            raise IntegrityError(
                "the code bundle holds a file that is not what was bundled", where=entry.path
            )
        reader.expect(_padding(entry.size), f"the end of {entry.path!r} was expected")
    reader.expect(_END, "the end was expected")
    reader.expect_end()
    return manifest


def _read_manifest(reader: _Reader) -> bytes:
    header = reader.take(_BLOCK)
    try:
        size = int(header[124:135], 8)
    except ValueError:
        size = -1
    if not 0 <= size <= MANIFEST_LIMIT or header != _header(MANIFEST_PATH, size, 0o644):
        raise IntegrityError("the code bundle does not begin with a manifest")
    # In chunks: what a header claims is not yet what there is.
    parts = []
    left = size
    while left:
        parts.append(reader.take(min(left, _CHUNK)))
        left -= len(parts[-1])
    reader.expect(_padding(size), "the end of the manifest was expected")
    return b"".join(parts)


class _Reader:
    """Decompresses as much as it is asked for, and no more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = gzip.GzipFile(fileobj=file, mode="rb")

    def take(self, count: int) -> bytes:
        data = self._read(count)
        while len(data) < count:
            more = self._read(count - len(data))
            if not more:
                raise IntegrityError("the code bundle ends too early")
            data += more
        return data

    def expect(self, wanted: bytes, what: str) -> None:
        if wanted and self.take(len(wanted)) != wanted:
            raise IntegrityError(f"the code bundle holds what its manifest does not name: {what}")

    def expect_end(self) -> None:
        if self._read(1):
            raise IntegrityError("the code bundle goes on behind its end")

    def _read(self, count: int) -> bytes:
        try:
            return self._file.read(count)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise IntegrityError(f"the code bundle is damaged: {error}") from error


# -- tar, as POSIX.1-2001 lays it out -------------------------------------------------------------


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _header(path: str, size: int, mode: int) -> bytes:
    """What stands before a file's content: its block, and one with pax records if it needs them."""
    name = path.encode("utf-8")
    records = b""
    if len(name) > 100 or not path.isascii():
        records += _record("path", name)
    if size >= 8**11:
        records += _record("size", str(size).encode())
    block = _block(name[:100], size % 8**11, mode, b"0")
    if not records:
        return block
    long = _block(b"././@PaxHeader", len(records), 0o644, b"x")
    return long + records + _padding(len(records)) + block


def _record(key: str, value: bytes) -> bytes:
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def _block(name: bytes, size: int, mode: int, kind: bytes) -> bytes:
    head = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(100, b"\0"),
        mode,
        0,
        0,
        size,
        _MTIME,
    )
    tail = kind + bytes(100) + b"ustar\x0000" + bytes(247)
    total = sum(head) + 8 * 0x20 + sum(tail)
    return head + b"%06o\0 " % total + tail
