"""The text behind a file's bytes: unpacked, read in blocks, and with errors that name the file.

A file that is not compressed is cut into shards beforehand, and each is read by a unit of its own;
a compressed one is a stream, which one unit reads.
"""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

from zenml.core.errors import DataError
from zenml.datasources._source_files import SourceFile

__all__ = [
    "BLOCK",
    "Layout",
    "blocks",
    "compression_of",
    "damaged",
    "read",
    "samples",
    "texts",
    "unit_places",
    "unpacked",
]

#: Bytes looked at at once: few enough for the processor's cache.
BLOCK: Final = 1 << 18
_SAMPLES: Final = 8


class Layout(NamedTuple):
    """One file: where its rows are.

    Attributes:
        file: The file.
        compression: How it is compressed, if it is.
        body: Offset of the first row.
        cuts: Start and end of each shard, for a file that is not compressed.
    """

    file: SourceFile
    compression: str | None
    body: int
    cuts: list[tuple[int, int]]


def compression_of(stream: BinaryIO) -> str | None:
    """Told by the first bytes, since names can be wrong; neither begins any text."""
    first = stream.read(4)
    stream.seek(0)
    if first.startswith(b"\x1f\x8b"):
        return "gzip"
    return "zip" if first.startswith(b"PK\x03\x04") else None


def unpacked(stream: BinaryIO, compression: str | None, file: SourceFile) -> BinaryIO:
    """The text behind a file's bytes. Raises ``DataError``."""
    if compression is None:
        return stream
    if compression == "gzip":
        return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        raise damaged(file, error) from error
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not os.path.basename(member.filename).startswith(".")
    ]
    if len(members) != 1:
        found = ", ".join(f"'{member.filename}'" for member in members[:5]) or "nothing"
        raise DataError(
            f"the archive holds {len(members)} files, and exactly one is expected",
            where=f"{file.name}: {found}",
            remedy="unpack it into a folder, and give the folder as path",
        )
    try:
        return archive.open(members[0])  # type: ignore[return-value]
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"the archive cannot be unpacked: {error}",
            where=file.name,
            remedy="unpack it by hand, and give the file that it holds as path",
        ) from error


def read(text: BinaryIO, size: int, file: SourceFile) -> bytes:
    """Up to ``size`` bytes; fewer only at the end. Raises ``DataError``."""
    try:
        pieces = []
        while size > 0 and (piece := text.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(file, error) from error
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}",
            where=file.name,
            remedy="check the disk or mount that it is on",
        ) from error


def _part(text: BinaryIO, start: int, end: int, file: SourceFile) -> bytes:
    """The bytes between two places. Raises ``DataError`` if they are no longer there."""
    text.seek(start)
    data = read(text, end - start, file)
    if len(data) < end - start:
        raise DataError(
            "the file became shorter while it was read",
            where=file.name,
            remedy="run again when nothing writes to it",
        )
    return data


def blocks(text: BinaryIO, file: SourceFile, size: int | None = None) -> Iterator[bytes]:
    """The text in blocks: all that is left of it, or ``size`` bytes."""
    left = size
    while left is None or left > 0:
        block = read(text, BLOCK if left is None else min(BLOCK, left), file)
        if not block:
            return
        if left is not None:
            left -= len(block)
        yield block


def samples(layouts: Sequence[Layout], size: int) -> Iterator[bytes]:
    """Up to ``size`` bytes from each of a few places at which rows begin."""
    places = [(layout, start) for layout in layouts for start, _ in layout.cuts]
    step = max(len(places) // _SAMPLES, 1)
    for layout, start in places[::step][:_SAMPLES] or [(layouts[0], layouts[0].body)]:
        with layout.file.open() as raw, unpacked(raw, layout.compression, layout.file) as text:
            if layout.compression is None:
                text.seek(start)
            else:
                read(text, start, layout.file)
            data = read(text, size, layout.file)
        yield data


def unit_places(layouts: Sequence[Layout]) -> Iterator[dict[str, Any]]:
    """What each unit reads, as a part of its payload: one shard, or a compressed file."""
    for layout in layouts:
        place = {
            "file": list(layout.file),
            "compression": layout.compression,
            "body": layout.body,
        }
        if layout.compression is not None:
            yield place
        for start, end in layout.cuts:
            yield {**place, "start": start, "end": end}


def texts(
    place: Mapping[str, Any], divide: Callable[[Iterator[bytes]], Iterator[bytes]]
) -> Iterator[bytes]:
    """The text of each shard that a unit reads. Raises ``DataError``.

    Args:
        place: One of ``unit_places``.
        divide: Cuts a stream of blocks into the texts of shards.
    """
    file = SourceFile(*place["file"])
    with file.open() as raw, unpacked(raw, place["compression"], file) as text:
        if "start" in place:
            yield _part(text, place["start"], place["end"], file)
        else:
            read(text, place["body"], file)
            yield from divide(blocks(text, file))


def damaged(file: SourceFile, error: Exception) -> DataError:
    """For a file that is not what its beginning says."""
    return DataError(
        f"the file is damaged or incomplete: {error}",
        where=file.name,
        remedy="copy or download it again",
    )
