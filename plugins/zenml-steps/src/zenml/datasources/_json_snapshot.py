"""Taking a snapshot of JSON Lines files: cutting, parsing, typing, writing shards.

Columns and types are found out by trying, as with CSV files: a sample gives a first guess, and what
does not fit it has all read once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from zenml.core import Files, StepContext
from zenml.core.errors import DataError
from zenml.datasources._csv_records import SHARD_BYTES, Dialect, LongRecordError, cut, stream
from zenml.datasources._json_lines import LineProblem, Row, parse, shortened
from zenml.datasources._snapshot import (
    check_known,
    check_names,
    put_together,
    read_typed,
    shard_rows,
    write_shard,
)
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
from zenml.datasources._types import NOTHING, UNKNOWN, join, settle
from zenml.datasources._values import first_misfit, need_of, series_of
from zenml.steps._tables import PATTERN, PATTERN_REMEDY, is_pattern

if TYPE_CHECKING:
    from zenml.datasources.json_lines import JSONLinesDatasource

__all__ = ["read_shards", "take_snapshot"]

_BOM: Final = b"\xef\xbb\xbf"
_SAMPLE_BYTES: Final = 1 << 16
#: JSON has no line end inside of a value.
_LINES: Final = Dialect(",", None, [])
_LONG_LINE: Final = f"a line is longer than {SHARD_BYTES >> 20} MiB"
_LONG_REMEDY: Final = "write one object a line: jq -c '.[]' old > new.jsonl"


def take_snapshot(source: JSONLinesDatasource, context: StepContext) -> dict[str, Any]:
    """See ``JSONLinesDatasource.run``."""
    files = find_files(source.path, source.suffixes)
    stamps = {file: stamp(file) for file in files}
    layouts = [_lay_out(file, source.rows_per_shard) for file in files]
    given = source.schema or {}

    def payloads(types: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        return _payloads(layouts, types, given, source.rows_per_shard)

    types, shards = read_typed(read_shards, payloads, _guess(layouts, given), stamps, context)
    if not types:
        raise DataError(
            "there are no rows with values",
            where=", ".join(file.name for file in files[:3]),
            remedy="write one object a line, or name another file",
        )
    check_names(list(types), files[0].name)
    check_known(given, list(types), files[0].name, "the schema")
    return put_together(types, shards, context)


def _lay_out(file: SourceFile, rows: int) -> Layout:
    with file.open() as raw:
        compression = compression_of(raw)
        with unpacked(raw, compression, file) as text:
            first = read(text, len(_BOM), file)
            if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError(
                    "the file is not encoded as UTF-8, but probably as UTF-16",
                    where=file.name,
                    remedy="convert it: iconv -f UTF-16 -t UTF-8 old > new",
                )
            body = len(_BOM) if first == _BOM else 0
            if compression is not None:
                return Layout(file, compression, body, [])
            text.seek(body)
            try:
                cuts = list(cut(blocks(text, file), body, _LINES, rows))
            except LongRecordError as error:
                text.seek(0)
                line = sum(block.count(b"\n") for block in blocks(text, file, error.start)) + 1
                raise DataError(
                    _LONG_LINE, where=f"{file.name}, line {line}", remedy=_LONG_REMEDY
                ) from error
            return Layout(file, None, body, cuts)


def _guess(layouts: Sequence[Layout], given: Mapping[str, str]) -> dict[str, str]:
    """A first guess from a few places. At most the truth: a sample cannot need more than all."""
    types: dict[str, str] = {}
    for data in samples(layouts, _SAMPLE_BYTES):
        whole = data[: data.rfind(b"\n") + 1] if len(data) == _SAMPLE_BYTES else data
        parsed = parse(whole)
        if isinstance(parsed, LineProblem):
            continue  # the units find out what is wrong, and where
        rows, _ = parsed
        for name in _names(rows):
            types[name] = join(types.get(name, NOTHING), need_of([row.get(name) for row in rows]))
    guessed = {name: UNKNOWN if settle(need) != need else need for name, need in types.items()}
    return {name: given.get(name, kind) for name, kind in guessed.items()}


def _names(rows: Sequence[Row]) -> dict[str, None]:
    """The keys of rows, in the order in which they first appear."""
    found: dict[str, None] = {}
    for row in rows:
        if row.keys() - found.keys():
            found.update(dict.fromkeys(row))
    return found


def _payloads(
    layouts: Sequence[Layout], types: Mapping[str, str], given: Mapping[str, str], rows: int
) -> Iterator[dict[str, Any]]:
    common = {
        "types": [list(column) for column in types.items()],
        "given": [list(column) for column in sorted(given.items())],
        "rows_per_shard": rows,
    }
    for place in unit_places(layouts):
        yield {**common, **place}


# -- units -----------------------------------------------------------------------------------------


class _BadLineError(Exception):
    """A line is no row; ``problem`` is plain data."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem)
        self.problem = problem


def read_shards(payload: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """Unit: read one shard of a plain file, or all shards of a compressed one, and write them.

    Returns what ``read_typed`` says, ``columns`` among it.
    """
    file = SourceFile(*payload["file"])
    reader = _Reader(payload, file, files)
    try:
        for data in texts(
            payload, lambda blocks: stream(blocks, _LINES, payload["rows_per_shard"])
        ):
            reader.add(data)
    except _BadLineError as error:
        return {"shards": [], "needs": {}, "columns": [], "problem": error.problem}
    except LongRecordError:
        where = f"{file.name}, behind line {reader.lines}"
        problem = {"message": _LONG_LINE, "where": where, "remedy": _LONG_REMEDY}
        return {"shards": [], "needs": {}, "columns": [], "problem": problem}
    return {
        "shards": reader.shards if reader.written else [],
        "needs": reader.needs,
        "columns": list(reader.columns),
        "written": reader.written,
    }


class _Reader:
    """Reads the shards of one unit."""

    def __init__(self, payload: Mapping[str, Any], file: SourceFile, files: Files) -> None:
        self.types: dict[str, str] = dict(payload["types"])
        self.given: dict[str, str] = dict(payload["given"])
        self.payload = payload
        self.file = file
        self.files = files
        self.lines = 0
        self.columns: dict[str, None] = {}
        self.needs: dict[str, str] = {}
        self.shards: list[dict[str, Any]] = []
        self.written = True

    def add(self, data: bytes) -> None:
        """Read one shard's text; write it unless a type turned out to be wrong."""
        parsed = parse(data)
        if isinstance(parsed, LineProblem):
            raise self._problem(parsed.line, parsed.message, parsed.remedy, parsed.position + 1)
        rows, places = parsed
        for name in _names(rows):
            if is_pattern(name):
                line = next(where for row, where in zip(rows, places, strict=True) if name in row)
                raise self._problem(line, PATTERN.format(name), PATTERN_REMEDY, None)
            self.columns[name] = None
            values = [row.get(name) for row in rows]
            need = self._given(name, values, places) or need_of(values)
            self.needs[name] = join(self.needs.get(name, NOTHING), need)
            known = self.types.get(name, NOTHING)
            joined = need if known == UNKNOWN else join(known, need)
            if name not in self.types or settle(joined) != settle(known):
                self.written = False
        # Once a type was wrong all will be read again, so there is no use in writing the rest.
        if self.written:
            self._write(rows, places)
        self.lines += data.count(b"\n")

    def _given(self, name: str, values: Sequence[Any], places: Sequence[int]) -> str | None:
        kind = self.given.get(name)
        if kind is not None:
            self._series(name, values, kind, places)
        return kind

    def _write(self, rows: Sequence[Row], places: Sequence[int]) -> None:
        size = shard_rows(max(len(rows), 1), len(self.types))
        for start in range(0, len(rows), size):
            some, where = rows[start : start + size], places[start : start + size]
            columns = [
                self._series(name, [row.get(name) for row in some], settle(kind), where)
                for name, kind in self.types.items()
            ]
            self.shards.append(write_shard(pl.DataFrame(columns), self.files))

    def _series(
        self, name: str, values: Sequence[Any], kind: str, places: Sequence[int]
    ) -> pl.Series:
        try:
            return series_of(name, values, kind)
        except ValueError:
            wrong = first_misfit(values, kind) or 0
            said = f"column {shortened(name)} is of type {kind}, and "
            said += f"{shortened(str(values[wrong]))} is not"
            remedy = f"mend the value, or give it another type: schema={{{name!r}: 'string'}}"
            raise self._problem(places[wrong], said, remedy, None) from None

    def _problem(self, line: int, message: str, remedy: str, column: int | None) -> _BadLineError:
        """With the place as a person counts: lines and characters, from 1."""
        place = f"{self.file.name}, line {self._before() + line + 1}"
        if column is not None:
            place += f", column {column}"
        return _BadLineError({"message": message, "where": place, "remedy": remedy})

    def _before(self) -> int:
        """Lines of the file before this shard's text."""
        if "start" not in self.payload:
            return self.lines
        with self.file.open() as text:
            return sum(
                block.count(b"\n") for block in blocks(text, self.file, self.payload["start"])
            )
