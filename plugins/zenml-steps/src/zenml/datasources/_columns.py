"""Typed columns of elsewhere as columns of a dataset: Parquet's and data frames'.

===========================================  =======================================================
boolean                                      boolean
integers, signed or not                      integer
floats                                       float
strings, categories, enumerations            string
decimals without digits behind the point     integer, or string if they have more than 18 digits
other decimals                               float
dates, times, timestamps                     string, as ISO 8601 writes them; with a zone: in UTC
nothing but nulls                            string
===========================================  =======================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from zenml.core.errors import DataError
from zenml.datasources._types import NOTHING
from zenml.steps._tables import dtype_of

__all__ = ["MisfitError", "as_type", "table_of", "types_of"]

#: Decimals of so many digits are 64-bit integers.
_DIGITS: Final = 18
#: The years 1 to 9999, which ISO 8601 writes with four digits, in days from 1970.
_FIRST_DAY: Final = -719_162
_END_DAY: Final = 2_932_897
#: Nanoseconds in 64 bits reach no other years.
_PER_DAY: Final = {"ms": 86_400_000, "us": 86_400_000_000}


class MisfitError(Exception):
    """A value cannot be of the column's type.

    Attributes:
        column: The column.
        row: The value's position in the frame, from 0.
        message: What is wrong.
        remedy: What to do about it.
    """

    def __init__(self, column: str, row: int, message: str, remedy: str) -> None:
        super().__init__(message)
        self.column = column
        self.row = row
        self.message = message
        self.remedy = remedy


def types_of(schema: Mapping[str, pl.DataType], where: str) -> dict[str, str]:
    """Column to what its values need. Raises ``DataError`` for what no column can be."""
    kinds = {name: _kind_of(dtype) for name, dtype in schema.items()}
    unfit = {name: schema[name] for name, kind in kinds.items() if kind is None}
    if unfit:
        said = [f"column '{name}' is of type {dtype}" for name, dtype in list(unfit.items())[:20]]
        raise DataError(
            f"no dataset holds columns of that type: {', '.join(said)}",
            where=where,
            remedy="unnest it into columns of single values, convert it to text or numbers, or "
            "leave it out",
        )
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _kind_of(dtype: pl.DataType) -> str | None:
    if isinstance(dtype, pl.Decimal):
        if dtype.scale:
            return "float"
        return "integer" if (dtype.precision or _DIGITS + 1) <= _DIGITS else "string"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_integer():
        return "integer"
    if dtype.is_float():
        return "float"
    if dtype == pl.Null:
        return NOTHING
    texts = (pl.String, pl.Categorical, pl.Enum, pl.Date, pl.Time, pl.Datetime)
    return "string" if isinstance(dtype, texts) else None


def table_of(frame: pl.DataFrame, types: Mapping[str, str]) -> pl.DataFrame:
    """The columns with these types. Raises ``MisfitError``."""
    return pl.DataFrame([as_type(frame[name], kind) for name, kind in types.items()])


def as_type(series: pl.Series, kind: str) -> pl.Series:
    """A column with another type, without loss. Raises ``MisfitError``.

    Everything can be a string, and integers can be floats. Other numbers and booleans can be each
    other where they are equal: 2.0 is 2, and 1 is true.
    """
    if kind == "string":
        return _text(series)
    dtype = dtype_of(kind)
    if _kind_of(series.dtype) == "string" and not isinstance(series.dtype, pl.Decimal):
        wrong = series.is_not_null()
        converted = pl.Series(series.name, [None] * len(series), dtype=dtype)
    else:
        plain = series
        if isinstance(series.dtype, pl.Decimal):
            # By way of its digits, so that it is rounded once.
            number = pl.Float64 if series.dtype.scale else pl.Int64
            plain = series.cast(pl.String).cast(number, strict=False)
        converted = plain.cast(dtype, strict=False)
        wrong = series.is_not_null() & converted.is_null()
        if kind != "float":
            wrong |= (converted.cast(plain.dtype, strict=False) != plain).fill_null(value=False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        value = str(series[row])
        shown = value if len(value) <= 40 else value[:39] + "…"
        raise MisfitError(
            series.name,
            row,
            f"column '{series.name}' is of type {kind}, and {shown!r} is not",
            f"give it another type: schema={{'{series.name}': 'string'}}",
        )
    return converted


def _text(series: pl.Series) -> pl.Series:
    dtype = series.dtype
    text: pl.Series
    day = _PER_DAY.get(dtype.time_unit) if isinstance(dtype, pl.Datetime) else 1
    if isinstance(dtype, (pl.Date, pl.Datetime)) and day is not None:
        number = series.to_physical().cast(pl.Int64)
        strange = (number < _FIRST_DAY * day) | (number >= _END_DAY * day)
        if strange.any():
            raise MisfitError(
                series.name,
                int(strange.arg_true()[0]),
                f"column '{series.name}' has a time outside of the years 1 to 9999",
                "mend it, or give the column as a number",
            )
    if isinstance(dtype, pl.Datetime):
        zone = "" if dtype.time_zone is None else "Z"
        utc = series.dt.convert_time_zone("UTC") if zone else series
        text = utc.dt.strftime(f"%Y-%m-%dT%H:%M:%S%.f{zone}")
    elif dtype == pl.Date:
        text = series.dt.strftime("%Y-%m-%d")
    elif dtype == pl.Time:
        text = series.dt.strftime("%H:%M:%S%.f")
    else:
        text = series.cast(pl.String)
    return text
