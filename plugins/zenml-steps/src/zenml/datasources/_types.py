"""The types of a dataset's columns, ordered by what they accept.

What the values of a shard need is joined over all shards, so the type of a column depends neither
on the sharding nor on which rows were looked at first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["LONG", "NOTHING", "TYPES", "UNKNOWN", "join", "settle"]

#: What a snapshot's columns can be.
TYPES: Final = ("boolean", "integer", "float", "string")
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
