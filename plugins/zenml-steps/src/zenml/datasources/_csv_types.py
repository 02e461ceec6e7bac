"""Which type fits all values of a column.

Types are ordered by what they accept. What a shard's values need is joined over all shards, so the
type of a column depends neither on the sharding nor on which rows were looked at first. A type fits
exactly if Polars' CSV reader takes every value as that type; no second opinion exists on what a
number looks like.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

__all__ = ["UNKNOWN", "fits", "infer", "join", "settle"]

#: No value has been seen: every type would fit.
NOTHING: Final = "nothing"
#: Whole numbers of more than 64 bits: as floats they would lose digits, and identifiers with them.
LONG: Final = "long integer"
#: Stands in for a type that is still to be found out; the column is read as strings meanwhile.
UNKNOWN: Final = "?"

_JOINS: Final[Mapping[frozenset[str], str]] = {
    frozenset({"integer", LONG}): LONG,
    frozenset({"integer", "float"}): "float",
    frozenset({LONG, "float"}): "float",
}


def join(one: str, other: str) -> str:
    """The narrowest type that fits what either fits."""
    if other in (one, NOTHING):
        return one
    if one == NOTHING:
        return other
    return _JOINS.get(frozenset({one, other}), "string")


def settle(kind: str) -> str:
    """The type of a column whose values need ``kind`` in all."""
    return "string" if kind in (NOTHING, LONG, UNKNOWN) else kind


def infer(texts: pl.Series) -> str:
    """What the values of a column, read as strings, need."""
    values = texts.drop_nulls().unique()
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


def joined(kinds: Sequence[str]) -> str:
    """``join`` of any number of types."""
    result = NOTHING
    for kind in kinds:
        result = join(result, kind)
    return result
