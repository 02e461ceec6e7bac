"""Columns of Python values, as JSON and databases give them, as columns of a dataset."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import reduce
from typing import Any, Final

import polars as pl

from zenml.datasources._types import LONG, NOTHING, join
from zenml.steps._tables import dtype_of

__all__ = ["first_misfit", "need_of", "series_of", "unsupported"]

_MOST: Final = 2**63 - 1
_LEAST: Final = -(2**63)

_KINDS: Final[dict[type, str]] = {
    type(None): NOTHING,
    bool: "boolean",
    int: "integer",
    float: "float",
    Decimal: "float",
    str: "string",
    dt.datetime: "string",
    dt.date: "string",
    dt.time: "string",
    uuid.UUID: "string",
}


def unsupported(values: Sequence[Any]) -> type | None:
    """A type among the values that no column can be, if there is one."""
    found = set(map(type, values)) - _KINDS.keys()
    return min(found, key=lambda kind: kind.__name__, default=None)


def need_of(values: Sequence[Any]) -> str:
    """What the values of a column need; all of them are of supported types."""
    kinds = set()
    for kind in set(map(type, values)):
        if kind is int:
            numbers = [value for value in values if type(value) is int]
            fitting = min(numbers) >= _LEAST and max(numbers) <= _MOST
            kinds.add("integer" if fitting else LONG)
        elif kind is Decimal:
            kinds |= {_need_of_decimal(value) for value in values if type(value) is Decimal}
        else:
            kinds.add(_KINDS[kind])
    return reduce(join, sorted(kinds), NOTHING)


def _need_of_decimal(value: Decimal) -> str:
    # A database gives every value of a column as many digits behind the point as the column has.
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < 0:
        return "float"
    return "integer" if _LEAST <= value <= _MOST else LONG


def series_of(name: str, values: Sequence[Any], kind: str) -> pl.Series:
    """The values as a column, without loss. Raises ``ValueError`` if one is not of that type.

    Everything can be a string, and integers can be floats. Other numbers and booleans can be each
    other where they are equal: 2.0 is 2, and 1 is true.
    """
    exact = {type(None), _EXACT[kind]}
    if not set(map(type, values)) <= exact:
        convert = _CONVERSIONS[kind]
        values = [value if type(value) in exact else convert(value) for value in values]
    try:
        return pl.Series(name, values, dtype=dtype_of(kind), strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        raise ValueError(str(error)) from error


def first_misfit(values: Sequence[Any], kind: str) -> int | None:
    """Position of the first value that cannot be of that type, if there is one."""
    try:
        series_of("", values, kind)
    except ValueError:
        for place, value in enumerate(values):
            try:
                series_of("", [value], kind)
            except ValueError:
                return place
        raise
    return None


def _boolean(value: Any) -> bool:
    if type(value) in (int, float, Decimal) and value in (0, 1):
        return bool(value)
    raise ValueError("it is neither true nor false")


def _integer(value: Any) -> int:
    if type(value) in (bool, float, Decimal) and math.isfinite(value):
        number = int(value)
        if number == value:
            return number
    raise ValueError("it is no whole number")


def _float(value: Any) -> float:
    if type(value) in (bool, int, Decimal):
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError("it is too large for 64 bits") from error
    raise ValueError("it is no number")


def _string(value: Any) -> str:
    if type(value) is bool:
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            return _iso(value)
        try:
            return _iso(value.astimezone(dt.timezone.utc).replace(tzinfo=None)) + "Z"
        except OverflowError as error:
            raise ValueError("in UTC it is outside of the years 1 to 9999") from error
    if isinstance(value, dt.time):
        return _iso(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    return repr(value) if type(value) is float else str(value)


def _iso(value: dt.datetime | dt.time) -> str:
    """With as few digits of a second as do: none, three or six, as for Parquet."""
    if not value.microsecond:
        return value.isoformat(timespec="seconds")
    return value.isoformat(timespec="microseconds" if value.microsecond % 1000 else "milliseconds")


_EXACT: Final[dict[str, type]] = {"boolean": bool, "integer": int, "float": float, "string": str}
_CONVERSIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "boolean": _boolean,
    "integer": _integer,
    "float": _float,
    "string": _string,
}
