"""Taking a snapshot of CSV files: cutting, typing, writing shards, merging what was measured.

Types are found out by trying. A sample gives a first guess, which is at most the truth; the units
read with it and write their shards. Where a value does not fit, the unit says what its values need
instead, and all is read once more with types that fit everything. The sample decides how often the
files are read (once, nearly always), never what comes out.
"""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import polars as pl

from zenml.core import Blob, Files, StepContext
from zenml.core.errors import DataError
from zenml.datasources._csv_records import (
    BLANK,
    BLOCK,
    SHARD_BYTES,
    Dialect,
    LongRecordError,
    cut,
    find_problem,
    read_header,
    shape,
    whole_records,
    without_blank_lines,
)
from zenml.datasources._csv_types import UNKNOWN, first_misfit, guess, infer, join, settle
from zenml.datasources._source_files import SourceFile, changed_since, find_files, stamp
from zenml.steps._statistics import measure, merge, schema_of
from zenml.steps._tables import dtype_of, write_parquet
from zenml.steps.dataset import Column, Dataset, Shard

if TYPE_CHECKING:
    from zenml.datasources.csv import CSVDatasource

__all__ = ["read_shards", "take_snapshot"]

_HEADER_BYTES: Final = 1 << 20
_SAMPLE_BYTES: Final = 1 << 15
_SAMPLES: Final = 8
_PART: Final = "data"
_LONG_RECORD: Final = (
    f"a record is longer than {SHARD_BYTES >> 20} MiB, probably because a quote is never closed"
)


class _Layout(NamedTuple):
    """One file: where its rows are."""

    file: SourceFile
    compression: str | None
    header: list[str]
    #: Offset of the first record; and of each shard, for a file that is not compressed.
    body: int
    cuts: list[tuple[int, int]]


def take_snapshot(source: CSVDatasource, context: StepContext) -> dict[str, Any]:
    """See ``CSVDatasource.run``."""
    dialect = Dialect(source.separator, source.quote, list(source.null_values))
    files = find_files(source.path)
    stamps = {file: stamp(file) for file in files}
    layouts = [_lay_out(file, dialect, source.rows_per_shard) for file in files]
    columns = _same_header(layouts)
    given = _given_types(source, columns, layouts[0])
    types = {**_guess(layouts, dialect, columns), **given}

    # At most a few rounds: each one widens types, and all values were seen in the first.
    while True:
        payloads = list(_payloads(layouts, dialect, columns, types, given, source.rows_per_shard))
        results = context.map(read_shards, payloads)
        _raise_first_problem(results, stamps)
        needed = dict(types)
        for result in results:
            for name, need in result["needs"].items():
                needed[name] = need if needed[name] == UNKNOWN else join(needed[name], need)
        final = {name: settle(kind) for name, kind in needed.items()}
        if all(result["written"] for result in results) and all(
            kind == settle(types[name]) for name, kind in final.items()
        ):
            break
        context.log.info(
            "reading again, because a type is wider than it looked: %s",
            ", ".join(f"{name} is {kind}" for name, kind in final.items() if types[name] != kind),
        )
        types = final

    written = [shard for result in results for shard in result["shards"] if shard["rows"]]
    if not written:
        raise DataError(
            "there is a header, and no rows",
            where=", ".join(file.name for file in files[:3]),
            remedy="write rows below it, or name another file",
        )
    schema = {name: final[name] for name in columns}
    statistics = merge((Blob(*shard["statistics"]) for shard in written), schema, context.files)
    return {
        "examples": _dataset(schema, written),
        "statistics": statistics,
        "schema": schema_of(statistics),
    }


def _dataset(schema: Mapping[str, str], written: Sequence[Mapping[str, Any]]) -> Dataset:
    shards = []
    first_row = 0
    for shard in written:
        shards.append(Shard(first_row, shard["rows"], {_PART: Blob(*shard["data"])}))
        first_row += shard["rows"]
    columns = tuple(Column(name, kind, _PART) for name, kind in schema.items())
    return Dataset(columns, tuple(shards))


# -- before the units ------------------------------------------------------------------------------


def _lay_out(file: SourceFile, dialect: Dialect, rows: int) -> _Layout:
    """Read a file's header and, unless it is compressed, find out where its shards begin."""
    with file.open() as stream:
        compression = _compression(stream)
        with _plain(stream, compression, file) as text:
            beginning = _read(text, _HEADER_BYTES, file)
            header, body = read_header(beginning, dialect, file.name)
            if compression is not None:
                return _Layout(file, compression, header, body, [])
            text.seek(body)
            try:
                cuts = list(cut(_blocks(text, file), body, dialect, rows))
            except LongRecordError as error:
                text.seek(error.start)
                data = _read(text, SHARD_BYTES, file)
                row = _rows_before(text, body, error.start, dialect, file)
                raise _long_record(data, len(header), dialect, file, row) from error
            return _Layout(file, None, header, body, cuts)


def _rows_before(text: BinaryIO, start: int, end: int, dialect: Dialect, file: SourceFile) -> int:
    text.seek(start)
    return sum(1 for _ in cut(_blocks(text, file, end - start), start, dialect, 1))


def _long_record(
    data: bytes, columns: int, dialect: Dialect, file: SourceFile, row: int
) -> DataError:
    problem = find_problem(data, columns, dialect)
    place = row + (problem.row if problem else 0) + 1
    return DataError(
        _LONG_RECORD,
        where=f"{file.name}, row {place}",
        remedy=problem.remedy if problem else "split the record, or pass quote=None",
    )


def _same_header(layouts: Sequence[_Layout]) -> list[str]:
    first = layouts[0]
    for other in layouts[1:]:
        if other.header != first.header:
            missing = [name for name in first.header if name not in other.header]
            extra = [name for name in other.header if name not in first.header]
            said = [f"it lacks {_quoted(missing)}"] if missing else []
            said += [f"it adds {_quoted(extra)}"] if extra else []
            raise DataError(
                "the files have different headers: "
                + (" and ".join(said) or "the order of the columns differs"),
                where=f"{other.file.name}, line 1, compared with {first.file.name}",
                remedy="read files of one kind by one datasource: narrow the path, or give every "
                "file the same header",
            )
    return first.header


def _given_types(source: CSVDatasource, columns: Sequence[str], layout: _Layout) -> dict[str, str]:
    from difflib import get_close_matches

    given = dict(source.schema or {})
    unknown = [name for name in given if name not in columns]
    if unknown:
        close = {name: get_close_matches(name, columns, n=1) for name in unknown}
        meant = [f"'{found[0]}' for '{name}'" for name, found in close.items() if found]
        raise DataError(
            f"the schema names columns that the file does not have: {_quoted(unknown)}",
            where=f"{layout.file.name}, line 1: {_quoted(columns)}",
            remedy=f"did you mean {', '.join(meant)}?" if meant else "name one of these",
        )
    return given


def _guess(layouts: Sequence[_Layout], dialect: Dialect, columns: Sequence[str]) -> dict[str, str]:
    """A first guess from a few places. At most the truth: a sample cannot need more than all."""
    texts = []
    places = [(layout, start) for layout in layouts for start, _ in layout.cuts]
    step = max(len(places) // _SAMPLES, 1)
    chosen = places[::step][:_SAMPLES] or [(layouts[0], layouts[0].body)]
    for layout, start in chosen:
        with layout.file.open() as stream, _plain(stream, layout.compression, layout.file) as text:
            _skip(text, start, layout)
            data = _read(text, _SAMPLE_BYTES, layout.file)
        if len(data) == _SAMPLE_BYTES:  # a record that is cut off could need more than it does
            data = whole_records(data, dialect)
        if data:
            texts.append(data if data.endswith(b"\n") else data + b"\n")
    try:
        frame = _parse(b"".join(texts), dict.fromkeys(columns, "string"), dialect)
    except pl.exceptions.PolarsError:
        return dict.fromkeys(columns, UNKNOWN)  # the units find out what is wrong, and where
    return guess(frame)


def _payloads(
    layouts: Sequence[_Layout],
    dialect: Dialect,
    columns: Sequence[str],
    types: Mapping[str, str],
    given: Mapping[str, str],
    rows: int,
) -> Iterator[dict[str, Any]]:
    common = {
        "dialect": list(dialect),
        "columns": [[name, types[name]] for name in columns],
        "given": sorted(given),
        "rows_per_shard": rows,
    }
    for layout in layouts:
        place = {**common, "file": list(layout.file), "compression": layout.compression}
        if layout.compression is not None:
            yield {**place, "body": layout.body}
        for start, end in layout.cuts:
            yield {**place, "body": layout.body, "start": start, "end": end}


def _raise_first_problem(
    results: Iterable[Mapping[str, Any]], stamps: dict[SourceFile, Any]
) -> None:
    changed = changed_since(stamps)
    if changed is not None:
        raise DataError(
            "the file changed while it was read; nothing of it was kept",
            where=changed.name,
            remedy="run again when nothing writes to it",
        )
    for result in results:
        problem = result.get("problem")
        if problem is not None:
            raise DataError(problem["message"], where=problem["where"], remedy=problem["remedy"])


# -- units -----------------------------------------------------------------------------------------


class _BadRowsError(Exception):
    """A shard's text is not a table; ``problem`` is plain data."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem)
        self.problem = problem


def read_shards(payload: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """Unit: read one shard of a plain file, or all shards of a compressed one, and write them.

    Returns:
        ``shards``: rows, data file and measures of each. ``needs``: column to what its values need,
        where that was to be found out or is not what was assumed. ``written``: whether all shards
        were; from the first value on that does not fit, none is. ``problem``: what is wrong with
        the text, if anything. (It is returned, not raised: of several problems the first in the
        file is the one to report, whichever worker is faster.)
    """
    file = SourceFile(*payload["file"])
    reader = _Reader(payload, file, files)
    with file.open() as stream, _plain(stream, payload["compression"], file) as text:
        try:
            if "start" in payload:
                text.seek(payload["start"])
                size = payload["end"] - payload["start"]
                data = _read(text, size, file)
                if len(data) < size:
                    raise DataError(
                        "the file became shorter while it was read",
                        where=file.name,
                        remedy="run again when nothing writes to it",
                    )
                reader.add(data)
            else:
                _skip_bytes(text, payload["body"], file)
                for data in _stream(text, file, reader.dialect, payload["rows_per_shard"]):
                    reader.add(data)
        except _BadRowsError as error:
            return {"shards": [], "needs": {}, "problem": error.problem}
        except LongRecordError:
            problem = {
                "message": _LONG_RECORD,
                "where": f"{file.name}, at row {reader.rows + 1} or later",
                "remedy": "close the quote; if quotes mean nothing in this file, pass quote=None",
            }
            return {"shards": [], "needs": {}, "problem": problem}
    return {"shards": reader.shards, "needs": reader.needs, "written": reader.written}


def _stream(text: BinaryIO, file: SourceFile, dialect: Dialect, rows: int) -> Iterator[bytes]:
    """The shards of a stream, one after another."""
    kept = bytearray()
    dropped = 0

    def remember() -> Iterator[bytes]:
        for block in _blocks(text, file):
            kept.extend(block)
            yield block

    for start, end in cut(remember(), 0, dialect, rows):
        data = bytes(kept[start - dropped : end - dropped])
        del kept[: end - dropped]
        dropped = end
        yield data


class _Reader:
    """Reads the shards of one unit."""

    def __init__(self, payload: Mapping[str, Any], file: SourceFile, files: Files) -> None:
        self.dialect = Dialect(*payload["dialect"])
        self.types: dict[str, str] = dict(payload["columns"])
        self.given = set(payload["given"])
        self.payload = payload
        self.file = file
        self.files = files
        self.rows = 0
        self.lines = 0
        self.shards: list[dict[str, Any]] = []
        self.written = True
        self.needs: dict[str, str] = {}

    def add(self, data: bytes) -> None:
        """Read one shard's text; write it unless a type turned out to be wrong."""
        text, records = self._table(data)
        if not records:
            return
        wrong = False
        try:
            frame = _parse(text, self.types, self.dialect)
        except pl.exceptions.PolarsError as error:
            frame = self._as_strings(data, text, error)
            wrong = True
        if frame.height != records:
            self._raise_problem(data, f"the text has {records} records and {frame.height} rows")
        for name, kind in self.types.items():
            if kind == UNKNOWN or (wrong and kind != "string"):
                self._learn(name, kind, frame[name], data)
        self.rows += records
        self.lines += data.count(b"\n")
        # Once a type was wrong all will be read again, so there is no use in writing the rest.
        self.written = self.written and all(
            settle(need) == settle(self.types[name]) for name, need in self.needs.items()
        )
        if self.written:
            blob = write_parquet(frame, self.files)
            measures = measure(frame, self.files)
            self.shards.append(
                {
                    "rows": records,
                    "data": [blob.digest, blob.size],
                    "statistics": [measures.digest, measures.size],
                }
            )

    def _table(self, data: bytes) -> tuple[bytes, int]:
        """The text without blank lines, and how many rows it has; checks that it is a table."""
        width = len(self.types) - 1
        found = shape(data, self.dialect)
        if found.sound and found.separators == found.records * width:
            return data, found.records
        problem = find_problem(data, len(self.types), self.dialect, strays=False)
        if problem is not None:
            self._raise(problem.message, problem.remedy, data, problem.row, problem.offset)
        text = without_blank_lines(data, self.dialect)
        found = shape(text, self.dialect)
        if not found.sound or found.separators != found.records * width:
            self._raise_problem(data, "the number of separators does not fit the header")
        return text, found.records

    def _as_strings(
        self, data: bytes, text: bytes, error: pl.exceptions.PolarsError
    ) -> pl.DataFrame:
        """Read everything as text, after a value did not fit its type."""
        try:
            return _parse(text, dict.fromkeys(self.types, "string"), self.dialect)
        except pl.exceptions.PolarsError:
            self._raise_problem(data, str(error).partition("\n")[0])
            raise

    def _learn(self, name: str, kind: str, texts: pl.Series, data: bytes) -> None:
        if name in self.given:
            wrong = first_misfit(texts, kind)
            if wrong is not None:
                value = str(texts[wrong])
                shown = value if len(value) <= 40 else value[:39] + "…"
                self._raise(
                    f"the schema says that '{name}' is of type {kind}, and {shown!r} is not",
                    f"mend the value, add it to null_values, or give '{name}' another type "
                    f"(its values here need: {settle(infer(texts))})",
                    data,
                    wrong,
                    None,
                    name,
                )
            return
        need = infer(texts)
        known = self.needs.get(name, need)
        self.needs[name] = join(known, need)

    def _raise_problem(self, data: bytes, otherwise: str) -> None:
        problem = find_problem(data, len(self.types), self.dialect)
        if problem is not None:
            self._raise(problem.message, problem.remedy, data, problem.row, problem.offset)
        self._raise(
            f"the rows cannot be read: {otherwise}",
            "look for quotes inside fields in these rows; if quotes mean nothing in this file, "
            "pass quote=None",
            data,
            0,
            0,
        )

    def _raise(
        self,
        message: str,
        remedy: str,
        data: bytes,
        row: int,
        offset: int | None,
        column: str | None = None,
    ) -> None:
        """Raise with the place as a person counts: rows below the header, and lines, from 1."""
        if offset is None:
            offset = _offset_of(data, row, len(self.types), self.dialect)
        before_rows, before_lines = self._before()
        line = before_lines + data.count(b"\n", 0, offset) + 1
        place = f"{self.file.name}, row {before_rows + row + 1} (line {line})"
        if column is not None:
            place += f", column '{column}'"
        raise _BadRowsError({"message": message, "where": place, "remedy": remedy})

    def _before(self) -> tuple[int, int]:
        """Rows and lines of the file before this shard's text."""
        body = self.payload["body"]
        with (
            self.file.open() as stream,
            _plain(stream, self.payload["compression"], self.file) as text,
        ):
            lines = _read(text, body, self.file).count(b"\n")
            if "start" not in self.payload:
                return self.rows, self.lines + lines
            size = self.payload["start"] - body
            lines += sum(block.count(b"\n") for block in _blocks(text, self.file, size))
            text.seek(body)
            rows = 0
            # Blank lines are no rows, and finding them takes the text itself.
            for data in _stream_part(text, self.file, self.dialect, size):
                kept = data if len(self.types) == 1 else without_blank_lines(data, self.dialect)
                rows += shape(kept, self.dialect).records
            return rows, lines


def _stream_part(text: BinaryIO, file: SourceFile, dialect: Dialect, size: int) -> Iterator[bytes]:
    part = _Part(text, size)
    yield from _stream(part, file, dialect, 1 << 17)  # type: ignore[arg-type]


class _Part:
    """The next ``size`` bytes of a file."""

    def __init__(self, text: BinaryIO, size: int) -> None:
        self._text = text
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._text.read(min(size, self._left))
        self._left -= len(data)
        return data


def _offset_of(data: bytes, row: int, columns: int, dialect: Dialect) -> int:
    """Where in the text its row number ``row`` begins; blank lines are no rows."""
    start = seen = 0
    for begin, end in cut([data], 0, dialect, 1):
        if columns > 1 and data[begin:end] in BLANK:
            continue
        if seen == row:
            start = begin
            break
        seen += 1
    return start


def _parse(text: bytes, types: Mapping[str, str], dialect: Dialect) -> pl.DataFrame:
    """Parse rows without a header. Raises ``PolarsError`` if a value does not fit its type."""
    return pl.read_csv(
        text,
        has_header=False,
        schema={
            name: dtype_of("string" if kind == UNKNOWN else kind) for name, kind in types.items()
        },
        separator=dialect.separator,
        quote_char=dialect.quote,
        null_values=dialect.null_values,
        empty_string_is_null="" in dialect.null_values,
        ignore_errors=False,
        infer_schema=False,
        glob=False,
    )


# -- bytes -----------------------------------------------------------------------------------------


def _compression(stream: BinaryIO) -> str | None:
    """Told by the first bytes, since names can be wrong; neither begins any CSV text."""
    first = stream.read(4)
    stream.seek(0)
    if first.startswith(b"\x1f\x8b"):
        return "gzip"
    return "zip" if first.startswith(b"PK\x03\x04") else None


def _plain(stream: BinaryIO, compression: str | None, file: SourceFile) -> BinaryIO:
    """The text behind a file's bytes."""
    if compression is None:
        return stream
    if compression == "gzip":
        return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        raise _damaged(file, error) from error
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not os.path.basename(member.filename).startswith(".")
    ]
    if len(members) != 1:
        found = _quoted([member.filename for member in members][:5]) or "nothing"
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
            remedy="unpack it by hand, and give the CSV file as path",
        ) from error


def _read(text: BinaryIO, size: int, file: SourceFile) -> bytes:
    """Up to ``size`` bytes; fewer only at the end. Raises ``DataError``."""
    try:
        pieces = []
        while size > 0 and (piece := text.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(file, error) from error
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror or error}",
            where=file.name,
            remedy="check the disk or mount that it is on",
        ) from error


def _blocks(text: BinaryIO, file: SourceFile, size: int | None = None) -> Iterator[bytes]:
    left = size
    while left is None or left > 0:
        block = _read(text, BLOCK if left is None else min(BLOCK, left), file)
        if not block:
            return
        if left is not None:
            left -= len(block)
        yield block


def _skip(text: BinaryIO, start: int, layout: _Layout) -> None:
    if layout.compression is None:
        text.seek(start)
    else:
        _skip_bytes(text, start, layout.file)


def _skip_bytes(text: BinaryIO, count: int, file: SourceFile) -> None:
    _read(text, count, file)


def _damaged(file: SourceFile, error: Exception) -> DataError:
    return DataError(
        f"the file is damaged or incomplete: {error}",
        where=file.name,
        remedy="copy or download it again",
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
