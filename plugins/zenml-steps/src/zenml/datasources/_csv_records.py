"""CSV text as records: cutting it into shards, and finding what is wrong with it.

A record ends at a line end outside of quotes. Whether a place is inside quotes is told by the
number of quote characters before it (two in a row, which stand for one, leave that number even), so
a file can be cut without parsing it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from zenml.core.errors import DataError
from zenml.datasources._snapshot import check_names
from zenml.datasources._source_bytes import BLOCK

__all__ = [
    "BLANK",
    "SHARD_BYTES",
    "Dialect",
    "LongRecordError",
    "RowProblem",
    "Shape",
    "cut",
    "find_problem",
    "read_header",
    "shape",
    "stream",
    "whole_records",
    "without_blank_lines",
]

#: The most text that one shard is made from.
SHARD_BYTES: Final = 64 << 20

_NEWLINE: Final = 10
_RETURN: Final = 13
_BOM: Final = b"\xef\xbb\xbf"
#: A record with nothing in it, ended as lines are, or by the end of the file.
BLANK: Final = frozenset({b"", b"\n", b"\r\n", b"\r"})
_Bytes = npt.NDArray[np.uint8]


class Dialect(NamedTuple):
    """How the files are written: plain data.

    Attributes:
        separator: Between fields.
        quote: Around fields; None if there are no quotes.
        null_values: Texts that mean that a value is missing.
    """

    separator: str
    quote: str | None
    null_values: list[str]


class LongRecordError(Exception):
    """More than ``SHARD_BYTES`` without the end of a record; ``start`` is where it begins."""

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.start = start


def cut(
    blocks: Iterable[bytes], start: int, dialect: Dialect, rows: int
) -> Iterator[tuple[int, int]]:
    """Cut text at ends of records: after ``rows`` of them, or before ``SHARD_BYTES``.

    The cuts do not depend on the sizes of the blocks.

    Args:
        blocks: The text, beginning at the start of a record.
        start: Offset of the first byte.
        dialect: Only the quote counts.
        rows: Records (and blank lines) between two cuts.

    Yields:
        Start and end of each shard, as soon as its end has been seen.

    Raises:
        LongRecordError: a record is longer than a shard may be.
    """
    quote = ord(dialect.quote) if dialect.quote else None
    position = first = last = start
    lines, inside = 0, False
    for block in blocks:
        array = np.frombuffer(block, np.uint8)
        ends: npt.NDArray[np.intp] | None = None
        if quote is not None and (inside or quote in block):
            ends, inside = _record_ends(array, quote, inside)
            count = len(ends)
        else:
            count = int(np.count_nonzero(array == _NEWLINE))
        used = 0
        while True:
            needed = rows - lines
            if count - used < needed and position + len(block) - first <= SHARD_BYTES:
                if count > used:
                    final = block.rindex(b"\n") + 1 if ends is None else int(ends[-1])
                    last = position + final
                lines += count - used
                break
            if ends is None:
                ends = np.flatnonzero(array == _NEWLINE) + 1
            fitting = int(np.searchsorted(ends, first + SHARD_BYTES - position, side="right"))
            target = min(used + needed, fitting)
            if target > used:
                used = target
                last = position + int(ends[target - 1])
            elif last == first:
                raise LongRecordError(first)
            yield first, last
            first, lines = last, 0
        position += len(block)
    if position > first:
        yield first, position


def stream(blocks: Iterable[bytes], dialect: Dialect, rows: int) -> Iterator[bytes]:
    """The text between the cuts, one shard after another. Raises ``LongRecordError``."""
    kept = bytearray()
    dropped = 0

    def remember() -> Iterator[bytes]:
        for block in blocks:
            kept.extend(block)
            yield block

    for start, end in cut(remember(), 0, dialect, rows):
        data = bytes(kept[start - dropped : end - dropped])
        del kept[: end - dropped]
        dropped = end
        yield data


def _record_ends(array: _Bytes, quote: int, inside: bool) -> tuple[npt.NDArray[np.intp], bool]:
    """Offsets behind the line ends outside of quotes; and whether the end is inside quotes."""
    quotes = np.flatnonzero(array == quote)
    newlines = np.flatnonzero(array == _NEWLINE)
    before = np.searchsorted(quotes, newlines)
    return newlines[(before + inside) % 2 == 0] + 1, bool((len(quotes) + inside) % 2)


def whole_records(data: bytes, dialect: Dialect) -> bytes:
    """As much of ``data`` as is made of whole records."""
    array = np.frombuffer(data, np.uint8)
    if dialect.quote is None:
        return data[: data.rfind(b"\n") + 1]
    ends, _ = _record_ends(array, ord(dialect.quote), inside=False)
    return data[: int(ends[-1])] if len(ends) else b""


class Shape(NamedTuple):
    """What text looks like without being parsed.

    Attributes:
        records: How many records, blank ones included.
        separators: How many separators between fields; quoted ones do not count.
        sound: Whether every quote that opens a field is closed at the end of it.
    """

    records: int
    separators: int
    sound: bool = True


def shape(data: bytes, dialect: Dialect) -> Shape:
    """Count records and separators, and look at the quotes."""
    array = np.frombuffer(data, np.uint8)
    unfinished = 0 if data.endswith(b"\n") or not data else 1
    separator = ord(dialect.separator)
    if dialect.quote is None or dialect.quote.encode() not in data:
        lines = separators = 0
        for start in range(0, len(array), BLOCK):
            block = array[start : start + BLOCK]
            lines += int(np.count_nonzero(block == _NEWLINE))
            separators += int(np.count_nonzero(block == separator))
        return Shape(lines + unfinished, separators)
    quotes = np.flatnonzero(array == ord(dialect.quote))
    newlines = np.searchsorted(quotes, np.flatnonzero(array == _NEWLINE))
    outside = np.searchsorted(quotes, np.flatnonzero(array == separator))
    return Shape(
        int(np.count_nonzero(newlines % 2 == 0)) + unfinished,
        int(np.count_nonzero(outside % 2 == 0)),
        _is_sound(array, quotes, separator),
    )


def _is_sound(array: _Bytes, quotes: npt.NDArray[np.intp], separator: int) -> bool:
    """Whether quotes come in pairs, and none that opens a field is closed in its middle.

    Quotes inside a field that does not begin with one are characters like others.
    """
    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    padded = np.concatenate(([_NEWLINE], array, [_NEWLINE, _NEWLINE]))
    before, behind, further = padded[opening], padded[closing + 2], padded[closing + 3]
    # Two quotes in a row stand for one: the field goes on, and is opened by what opened it before.
    goes_on = np.zeros(len(opening), dtype=bool)
    goes_on[1:] = opening[1:] == closing[:-1] + 1
    opens = (before == separator) | (before == _NEWLINE)
    first = np.maximum.accumulate(np.where(goes_on, 0, np.arange(len(opening))))
    ends = (behind == separator) | (behind == _NEWLINE)
    ends |= (behind == _RETURN) & (further == _NEWLINE)
    ends[:-1] |= goes_on[1:]
    return bool((ends | ~opens[first]).all())


def without_blank_lines(data: bytes, dialect: Dialect) -> bytes:
    """``data`` without its blank records."""
    array = np.frombuffer(data, np.uint8)
    if dialect.quote is not None:
        ends, _ = _record_ends(array, ord(dialect.quote), inside=False)
    else:
        ends = np.flatnonzero(array == _NEWLINE) + 1
    bounds = np.concatenate(([0], ends, [len(array)]))
    # Few records are so short that they could be blank.
    short = np.flatnonzero(np.diff(bounds) <= 2).tolist()
    places = [(int(bounds[number]), int(bounds[number + 1])) for number in short]
    blank = [(start, end) for start, end in places if data[start:end] in BLANK]
    if not blank:
        return data
    keep = np.ones(len(array), dtype=bool)
    for start, end in blank:
        keep[start:end] = False
    return array[keep].tobytes()


def read_header(data: bytes, dialect: Dialect, name: str) -> tuple[list[str], int]:
    """Column names from the beginning of a file, and the offset of the first record.

    Args:
        data: The beginning of the file, or all of it.
        dialect: How it is written.
        name: The file, for messages.

    Raises:
        DataError: there is no header, or it cannot be one.
    """
    if not data:
        raise DataError("the file is empty", where=name, remedy="write a header and rows into it")
    # A zero byte further down is a character of a value.
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4096].partition(b"\n")[0]:
        raise DataError(
            "the file is not encoded as UTF-8, but probably as UTF-16",
            where=name,
            remedy="convert it: iconv -f UTF-16 -t UTF-8 old.csv > new.csv",
        )
    offset = len(_BOM) if data.startswith(_BOM) else 0
    blank = re.compile(rb"(?:\r?\n)*").match(data, offset)
    offset = blank.end() if blank else offset
    if dialect.quote is None:
        end = data.find(b"\n", offset) + 1
    else:
        array = np.frombuffer(data, np.uint8)[offset:]
        ends, open_ = _record_ends(array, ord(dialect.quote), inside=False)
        end = offset + int(ends[0]) if len(ends) else 0
        if not end and open_:
            raise DataError(
                "a quote in the header is never closed",
                where=f"{name}, line 1",
                remedy=_QUOTE_REMEDY,
            )
    text = _decoded(data[offset : end or len(data)], name)
    if not text.strip():
        raise DataError("the file is empty", where=name, remedy="write a header and rows into it")
    options: dict[str, Any] = {"delimiter": dialect.separator, "strict": True}
    if dialect.quote is None:
        options["quoting"] = csv.QUOTE_NONE
    else:
        options["quotechar"] = dialect.quote
    try:
        names = next(csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), **options))
    except csv.Error as error:
        raise DataError(
            f"the header cannot be read: {error}", where=f"{name}, line 1", remedy=_QUOTE_REMEDY
        ) from error
    if not end and "\r" in text.rstrip("\r"):
        raise DataError(
            "the file's lines end in carriage returns only",
            where=name,
            remedy="convert it: tr '\\r' '\\n' < old.csv > new.csv",
        )
    # Tools that write an index column leave its name empty.
    names = [column or f"column_{place}" for place, column in enumerate(names, start=1)]
    check_names(names, f"{name}, line 1")
    return names, end or len(data)


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"the header is not UTF-8: byte 0x{data[error.start]:02x}",
            where=f"{name}, line 1, byte {error.start + 1} of the line",
            remedy=_ENCODING_REMEDY,
        ) from error


_QUOTE_REMEDY = (
    "a quote inside a quoted field is written twice; if quotes mean nothing in this file, "
    "pass quote=None"
)
_ENCODING_REMEDY = (
    "convert it to UTF-8; if it is in Latin-1: iconv -f LATIN1 -t UTF-8 old.csv > new.csv"
)


class RowProblem(NamedTuple):
    """What is wrong with a row, as plain data.

    Attributes:
        row: Position of the record in the text, from 0.
        offset: Position of its first byte in the text.
        message: What is wrong.
        remedy: What to do about it.
        column: The column, where it is about one.
    """

    row: int
    offset: int
    message: str
    remedy: str
    column: str | None = None


def find_problem(
    data: bytes, columns: int, dialect: Dialect, *, strays: bool = True
) -> RowProblem | None:
    """Look for the first row that is no row of the table; slow and exact.

    Args:
        data: Whole records.
        columns: How many fields each should have. Blank lines are no problem, unless it is one:
            then they are values.
        dialect: How they are written.
        strays: Whether a quote inside a field that is not quoted is a problem, if there is no
            other. (It is one only where others would take it for the beginning of quotes.)
    """
    mark = dialect.quote.encode() if dialect.quote else b""
    quote = re.escape(mark)
    separator = re.escape(dialect.separator.encode())
    plain = rb"[^" + separator + rb"\n]*"
    pattern = rb"(" + plain + rb")(" + separator + rb"|\n|\Z)"
    if quote:
        text = rb"(?:[^" + quote + rb"]|" + quote + quote + rb")*"
        quoted = quote + text + quote + rb"\r?(?=" + separator + rb"|\n|\Z)"
        unquoted = rb"(?!" + quote + rb")" + plain
        pattern = rb"(" + quoted + rb"|" + unquoted + rb")(" + separator + rb"|\n|\Z)"
    field = re.compile(pattern)
    row = fields = start = position = 0
    stray: RowProblem | None = None
    bad_byte = _first_undecodable(data)
    while position < len(data):
        found = field.match(data, position)
        if found is None:
            return RowProblem(row, start, _quote_problem(data, position, dialect), _QUOTE_REMEDY)
        fields += 1
        if stray is None and mark and mark in found[1] and not found[1].startswith(mark):
            stray = RowProblem(
                row, start, "a quote stands inside a field that is not quoted", _QUOTE_REMEDY
            )
        position = found.end()
        if found[2] == dialect.separator.encode() and position < len(data):
            continue
        if found[2] == dialect.separator.encode():
            fields += 1  # the text ends behind a separator: an empty field
        if bad_byte is not None and bad_byte < position:
            return RowProblem(
                row,
                start,
                f"the text is not UTF-8: byte 0x{data[bad_byte]:02x} at byte "
                f"{bad_byte - start + 1} of the row",
                _ENCODING_REMEDY,
            )
        blank = columns > 1 and data[start:position] in BLANK
        if fields != columns and not blank:
            few = "too few" if fields < columns else "too many"
            return RowProblem(
                row,
                start,
                f"the row has {few} fields: {fields}, and the header names {columns}",
                "mend the row; a field that contains the separator must be quoted",
            )
        row += not blank
        fields, start = 0, position
    return stray if strays else None


def _first_undecodable(data: bytes) -> int | None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def _quote_problem(data: bytes, position: int, dialect: Dialect) -> str:
    quote = re.escape((dialect.quote or "").encode())
    closed = re.compile(quote + rb"(?:[^" + quote + rb"]|" + quote + quote + rb")*" + quote)
    if closed.match(data, position):
        return "text follows the quote that closes a field"
    return "a quoted field is never closed"
