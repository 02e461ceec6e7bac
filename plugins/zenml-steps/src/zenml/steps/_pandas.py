"""pandas frames as Polars frames and back, column by column, without pyarrow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from zenml.core.errors import DataError

__all__ = ["from_pandas", "to_pandas"]

#: Types that a column can be given back by name.
_NAMED = re.compile(
    r"bool|boolean|category|object|str|string"
    r"|u?int(8|16|32|64)|U?Int(8|16|32|64)|float(32|64)|Float(32|64)|datetime64\[(s|ms|us|ns)\]"
)


def from_pandas(frame: pd.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """A frame's columns, and the names of their pandas types. Raises ``DataError``."""
    wrong = [name for name in frame.columns if not isinstance(name, str)]
    if wrong:
        raise DataError(
            f"the frame has columns whose names are not text: {wrong[:5]}",
            remedy="rename them: frame.columns = frame.columns.map(str)",
        )
    if frame.columns.has_duplicates:
        names = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise DataError(
            f"the frame has several columns of one name: {', '.join(names)}",
            remedy="give every column a name of its own",
        )
    columns = [_to_series(name, frame[name]) for name in frame.columns]
    return pl.DataFrame(columns), [str(dtype) for dtype in frame.dtypes]


def _to_series(name: str, column: pd.Series[Any]) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biufM":
        return pl.Series(name, column.to_numpy())
    values = [None if _is_missing(value) else value for value in column.tolist()]
    try:
        series = pl.Series(name, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise _mixed(name) from error
    if series.dtype.is_object():
        raise _mixed(name)
    return series.cast(pl.String) if not values or series.dtype == pl.Null else series


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value  # noqa: PLR0124


def _mixed(name: str) -> DataError:
    return DataError(
        f"column '{name}' cannot be stored: its values are not of one plain type",
        remedy=f"convert it: frame['{name}'] = frame['{name}'].astype(str)",
    )


def to_pandas(frame: pl.DataFrame, types: Sequence[str]) -> pd.DataFrame:
    """The columns with the pandas types that they had, as far as these have plain names."""
    columns = {
        series.name: _to_column(series, kind) for series, kind in zip(frame, types, strict=True)
    }
    return pd.DataFrame(columns)


def _to_column(series: pl.Series, kind: str) -> pd.Series[Any]:
    named = bool(_NAMED.fullmatch(kind))
    if series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Datetime):
        if not series.null_count():
            column = pd.Series(series.to_numpy())
        else:
            column = pd.Series(series.to_list(), dtype=object)
        return column.astype(kind) if named else column.infer_objects()
    return pd.Series(series.to_list(), dtype=kind if named else None)
