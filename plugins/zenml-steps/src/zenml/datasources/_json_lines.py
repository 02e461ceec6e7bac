"""Lines of JSON as rows, and what is wrong with those that are none."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from zenml.steps._unicode import is_text

__all__ = ["LineProblem", "parse", "shortened"]

_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|-?Infinity|NaN|[\[\]{}]')
_REPAIR: Final = "mend the line; 'jq -c . FILE' shows what JSON makes of it"
Row = dict[str, Any]


class LineProblem(NamedTuple):
    """What is wrong with a line.

    Attributes:
        line: Position of the line in the text, from 0.
        message: What is wrong.
        remedy: What to do about it.
        position: Characters of the line before the place.
    """

    line: int
    message: str
    remedy: str
    position: int


class _TwiceError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class _NoNumberError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _TwiceError(key)
            seen.add(key)
    return row


def _refuse(name: str) -> Any:
    raise _NoNumberError(name)


_decoder: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)


def parse(data: bytes) -> tuple[list[Row], list[int]] | LineProblem:
    """The rows of some lines, and in which line each stands, from 0; or what is wrong."""
    rows: list[Row] = []
    places: list[int] = []
    for place, line in enumerate(data.split(b"\n")):
        if not line.strip(b" \t\r"):
            continue
        found = _row(line, place)
        if isinstance(found, LineProblem):
            return found
        rows.append(found)
        places.append(place)
    return rows, places


def _row(line: bytes, place: int) -> Row | LineProblem:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return LineProblem(
            place,
            f"the text is not UTF-8: byte 0x{line[error.start]:02x}",
            "convert it to UTF-8; if it is in Latin-1: iconv -f LATIN1 -t UTF-8 old > new",
            len(line[: error.start].decode()),
        )
    try:
        row = _decoder.decode(text)
    except json.JSONDecodeError as error:
        return LineProblem(place, f"the line is no JSON: {error.msg}", _REPAIR, error.pos)
    except _TwiceError as error:
        message = f"a key stands twice in an object: {shortened(error.key)}"
        return LineProblem(place, message, "name each key once", _second(text, error.key))
    except _NoNumberError as error:
        message = f"JSON has no number {error}"
        return LineProblem(place, message, "write null for it", _token(text, str(error)))
    except RecursionError:
        return LineProblem(place, "values are nested too deeply", "write single values", 0)
    except ValueError:  # Python limits the digits of a number that it converts
        return LineProblem(place, "a number has too many digits", "write it as text", 0)
    if type(row) is not dict:
        start = len(text) - len(text.lstrip())
        remedy = "write one object a line"
        if type(row) is list:
            remedy += "; a list of objects is turned into lines by: jq -c '.[]' old > new.jsonl"
        return LineProblem(place, f"expected an object, found {_called(row)}", remedy, start)
    for key, value in row.items():
        if type(value) in (dict, list):
            return LineProblem(
                place,
                f"the value of {shortened(key)} is {_called(value)}, and a column holds single "
                "values",
                "take out of it what is needed, or leave it out: "
                f"jq -c 'del(.[{json.dumps(key, ensure_ascii=False)}])' old > new.jsonl",
                _first(text, key),
            )
        if type(value) is float and value in (_INFINITE, -_INFINITE):
            message = f"the number of {shortened(key)} is too large for 64 bits"
            return LineProblem(place, message, "write it as text", _first(text, key))
        if (type(value) is str and not is_text(value)) or not is_text(key):
            message = f"half of a surrogate pair stands in {key!a}: it is no text"
            return LineProblem(place, message, "mend the escape \\ud800…", _first(text, key))
    return row


_INFINITE: Final = float("inf")


def _called(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def shortened(text: str) -> str:
    """Text of a file as a message shows it."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _keys(text: str) -> list[tuple[int, int, str]]:
    """Place, depth and name of every key of a line, as far as it is JSON."""
    found = []
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "{[":
            depth += 1
        elif token[0] in "}]":
            depth -= 1
        elif token[0][0] == '"' and text[token.end() :].lstrip(" \t").startswith(":"):
            found.append((token.start(), depth, json.loads(token[0])))
    return found


def _first(text: str, key: str) -> int:
    """Where the line's own object has its key."""
    return next((place for place, depth, name in _keys(text) if depth == 1 and name == key), 0)


def _second(text: str, key: str) -> int:
    """Where a key stands again."""
    places = [place for place, _, name in _keys(text) if name == key]
    return places[1] if len(places) > 1 else 0


def _token(text: str, name: str) -> int:
    return next((token.start() for token in _TOKEN.finditer(text) if token[0] == name), 0)
