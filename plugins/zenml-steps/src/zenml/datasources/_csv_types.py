"""Which type fits all values of a column of text.

A type fits exactly if Polars' CSV reader takes every value as that type; no second opinion exists
on what a number looks like.
"""

from __future__ import annotations

import io

import polars as pl

from zenml.datasources._types import LONG, NOTHING, UNKNOWN

__all__ = ["first_misfit", "fits", "guess", "infer"]


def infer(texts: pl.Series) -> str:
    """What the values of a column, read as strings, need."""
    values = texts.drop_nulls().unique()
    # An empty text is one, and a missing number: every type would fit.
    values = values.filter(values != "")
    if not len(values):
        return NOTHING
    written = _as_csv(values)
    for kind in ("boolean", "integer", "float"):
        if fits(written, kind):
            if kind == "float" and values.str.contains(r"^\s*[+-]?[0-9]+$").all():
                return LONG
            return kind
    return "string"


def fits(written: bytes, kind: str) -> bool:
    """Whether every value of a one-column CSV text can be read as ``kind``."""
    from zenml.steps._tables import dtype_of

    try:
        pl.read_csv(written, has_header=False, schema={"value": dtype_of(kind)})
    except pl.exceptions.PolarsError:
        return False
    return True


def first_misfit(texts: pl.Series, kind: str) -> int | None:
    """Position of the first value that cannot be read as ``kind``, if there is one."""
    from zenml.steps._tables import dtype_of

    present = texts.is_not_null()
    places = present.arg_true()
    values = texts.filter(present)
    if not len(values):
        return None
    read = pl.read_csv(
        _as_csv(values),
        has_header=False,
        schema={"value": dtype_of(kind)},
        ignore_errors=True,
    )["value"]
    wrong = read.is_null().arg_true()
    return int(places[int(wrong[0])]) if len(wrong) else None


def _as_csv(values: pl.Series) -> bytes:
    buffer = io.BytesIO()
    values.alias("value").to_frame().write_csv(buffer, include_header=False, quote_style="always")
    return buffer.getvalue()


def guess(texts: pl.DataFrame) -> dict[str, str]:
    """What the columns of a sample, read as strings, need; ``UNKNOWN`` where it says too little."""
    needs = {series.name: infer(series) for series in texts}
    return {name: UNKNOWN if need in (NOTHING, LONG) else need for name, need in needs.items()}
