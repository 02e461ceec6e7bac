"""Taking a snapshot of CSV files: cutting, typing, writing shards, merging what was measured.

Types are found out by trying. A sample gives a first guess, which is at most the truth; the units
read with it and write their shards. Where a value does not fit, the unit says what its values need
instead, and all is read once more with types that fit everything. The sample decides how often the
files are read (once, nearly always), never what comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import polars as pl

from zenml.core import Files, StepContext
from zenml.core.errors import DataError
from zenml.datasources._csv_records import (
    BLANK,
    SHARD_BYTES,
    Dialect,
    LongRecordError,
    cut,
    find_problem,
    read_header,
    shape,
    stream,
    whole_records,
    without_blank_lines,
)
from zenml.datasources._csv_types import first_misfit, guess, infer
from zenml.datasources._snapshot import check_known, put_together, quoted, read_typed, write_shard
from zenml.datasources._source_bytes import (
    Layout,
    blocks,
    compression_of,
    read,
    samples,
    texts,
    unit_places,
    unpacked,
)
from zenml.datasources._source_files import SourceFile, find_files, stamp
from zenml.datasources._types import UNKNOWN, join, settle
from zenml.steps._tables import dtype_of

if TYPE_CHECKING:
    from zenml.datasources.csv import CSVDatasource

__all__ = ["read_shards", "take_snapshot"]

_HEADER_BYTES: Final = 1 << 20
_SAMPLE_BYTES: Final = 1 << 15
_LONG_RECORD: Final = (
    f"a record is longer than {SHARD_BYTES >> 20} MiB, probably because a quote is never closed"
)


def take_snapshot(source: CSVDatasource, context: StepContext) -> dict[str, Any]:
    """See ``CSVDatasource.run``."""
    dialect = Dialect(source.separator, source.quote, list(source.null_values))
    files = find_files(source.path, source.suffixes)
    stamps = {file: stamp(file) for file in files}
    layouts, headers = [], []
    for file in files:
        layout, header = _lay_out(file, dialect, source.rows_per_shard)
        layouts.append(layout)
        headers.append(header)
    columns = _same_header(files, headers)
    given = source.schema or {}
    check_known(given, columns, f"{files[0].name}, line 1", "the schema")

    def payloads(types: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        return _payloads(layouts, dialect, types, given, source.rows_per_shard)

    types = {**_guess(layouts, dialect, columns), **given}
    schema, shards = read_typed(read_shards, payloads, types, stamps, context)
    written = [shard for shard in shards if shard["rows"]]
    if not written:
        raise DataError(
            "there is a header, and no rows",
            where=", ".join(file.name for file in files[:3]),
            remedy="write rows below it, or name another file",
        )
    return put_together(schema, written, context)


# -- before the units ------------------------------------------------------------------------------


def _lay_out(file: SourceFile, dialect: Dialect, rows: int) -> tuple[Layout, list[str]]:
    """Read a file's header and, unless it is compressed, find out where its shards begin."""
    with file.open() as raw:
        compression = compression_of(raw)
        with unpacked(raw, compression, file) as text:
            beginning = read(text, _HEADER_BYTES, file)
            header, body = read_header(beginning, dialect, file.name)
            if compression is not None:
                return Layout(file, compression, body, []), header
            text.seek(body)
            try:
                cuts = list(cut(blocks(text, file), body, dialect, rows))
            except LongRecordError as error:
                text.seek(error.start)
                data = read(text, SHARD_BYTES, file)
                row = _rows_before(text, body, error.start, dialect, file)
                raise _long_record(data, len(header), dialect, file, row) from error
            return Layout(file, None, body, cuts), header


def _rows_before(text: BinaryIO, start: int, end: int, dialect: Dialect, file: SourceFile) -> int:
    text.seek(start)
    return sum(1 for _ in cut(blocks(text, file, end - start), start, dialect, 1))


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


def _same_header(files: Sequence[SourceFile], headers: Sequence[list[str]]) -> list[str]:
    first = headers[0]
    for file, other in zip(files, headers, strict=True):
        if other != first:
            missing = [name for name in first if name not in other]
            extra = [name for name in other if name not in first]
            said = [f"it lacks {quoted(missing)}"] if missing else []
            said += [f"it adds {quoted(extra)}"] if extra else []
            raise DataError(
                "the files have different headers: "
                + (" and ".join(said) or "the order of the columns differs"),
                where=f"{file.name}, line 1, compared with {files[0].name}",
                remedy="read files of one kind by one datasource: narrow the path, or give every "
                "file the same header",
            )
    return first


def _guess(layouts: Sequence[Layout], dialect: Dialect, columns: Sequence[str]) -> dict[str, str]:
    """A first guess from a few places. At most the truth: a sample cannot need more than all."""
    wholes = []
    for data in samples(layouts, _SAMPLE_BYTES):
        # A record that is cut off could need more than it does.
        whole = whole_records(data, dialect) if len(data) == _SAMPLE_BYTES else data
        if whole:
            wholes.append(whole if whole.endswith(b"\n") else whole + b"\n")
    try:
        frame = _parse(b"".join(wholes), dict.fromkeys(columns, "string"), dialect)
    except pl.exceptions.PolarsError:
        return dict.fromkeys(columns, UNKNOWN)  # the units find out what is wrong, and where
    return guess(frame)


def _payloads(
    layouts: Sequence[Layout],
    dialect: Dialect,
    types: Mapping[str, str],
    given: Mapping[str, str],
    rows: int,
) -> Iterator[dict[str, Any]]:
    common = {
        "dialect": list(dialect),
        "columns": [list(column) for column in types.items()],
        "given": sorted(given),
        "rows_per_shard": rows,
    }
    for place in unit_places(layouts):
        yield {**common, **place}


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
    try:
        for data in texts(
            payload, lambda blocks: stream(blocks, reader.dialect, payload["rows_per_shard"])
        ):
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
        if "start" not in self.payload:  # otherwise there is no other text in this unit
            self.lines += data.count(b"\n")
        # Once a type was wrong all will be read again, so there is no use in writing the rest.
        self.written = self.written and all(
            settle(need) == settle(self.types[name]) for name, need in self.needs.items()
        )
        if self.written:
            self.shards.append(write_shard(frame, self.files))

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
            self.file.open() as raw,
            unpacked(raw, self.payload["compression"], self.file) as text,
        ):
            lines = read(text, body, self.file).count(b"\n")
            if "start" not in self.payload:
                return self.rows, self.lines + lines
            size = self.payload["start"] - body
            lines += sum(block.count(b"\n") for block in blocks(text, self.file, size))
            text.seek(body)
            rows = 0
            # Blank lines are no rows, and finding them takes the text itself.
            for data in stream(blocks(text, self.file, size), self.dialect, 1 << 17):
                kept = data if len(self.types) == 1 else without_blank_lines(data, self.dialect)
                rows += shape(kept, self.dialect).records
            return rows, lines


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
    empty_is_null = "" in dialect.null_values
    nulls = dialect.null_values
    if empty_is_null and (dialect.quote is None or dialect.quote.encode() not in text):
        # Without quotes it need not be compared with every field.
        nulls = [value for value in nulls if value]
    return pl.read_csv(
        text,
        has_header=False,
        schema={
            name: dtype_of("string" if kind == UNKNOWN else kind) for name, kind in types.items()
        },
        separator=dialect.separator,
        quote_char=dialect.quote,
        null_values=nulls or None,
        empty_string_is_null=empty_is_null,
        ignore_errors=False,
        infer_schema=False,
        glob=False,
    )
