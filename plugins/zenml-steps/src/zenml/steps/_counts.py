"""How often each value of a column occurs, exactly, where there are not too many different ones.

A shard's counts are a frame of two columns, ``value`` and ``count``, and travel as Arrow's IPC
stream: merging them takes no object of Python for each value.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = [
    "Counts",
    "add_up",
    "compact",
    "count_values",
    "decode_counts",
    "encode_counts",
    "ranked",
    "up_to_too_many",
]

#: So many shards may wait to be merged: merging each of them at once would take longer.
_WAITING_SHARDS: Final = 256

#: Bytes that Polars takes for a text, beside the text itself.
_VIEW: Final = 16


def count_values(series: pl.Series) -> pl.DataFrame:
    """Each ``value`` of a column and its ``count``; nulls, NaN and infinities are left out."""
    series = series.drop_nulls()
    if series.dtype == pl.Enum:
        return _count_places(series)
    if series.dtype == pl.Int64 and (dense := _count_dense(series)) is not None:
        return dense
    floats = series.dtype.is_float()
    if floats:
        series = series.filter(series.is_finite())
    counted = series.alias("value").value_counts(name="count").cast({"count": pl.Int64})
    # The two zeros are equal, and either may have been kept; adding zero makes them one.
    return counted.with_columns(pl.col("value") + 0.0) if floats else counted


def _count_places(series: pl.Series) -> pl.DataFrame:
    """What ``count_values`` gives of a dictionary, whose values are in order."""
    categories: pl.Series = series.dtype.categories  # type: ignore[attr-defined]
    places, counts = _occurring(series.to_physical().to_numpy())
    return _in_order(categories.gather(places), counts)


def _count_dense(series: pl.Series) -> pl.DataFrame | None:
    """What ``count_values`` gives of integers that lie close together, in half the time."""
    values = series.to_numpy()
    if not len(values):
        return None
    low, high = values.min(), values.max()
    if int(high) - int(low) > len(values):
        return None
    places, counts = _occurring(values - low)
    return _in_order(pl.Series(places + low, dtype=pl.Int64), counts)


def _occurring(places: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The places from 0 on that occur, in order, and how often each does."""
    occurring = np.bincount(places)
    found = np.flatnonzero(occurring)
    return found, occurring[found]


def _in_order(values: pl.Series, counts: NDArray[Any]) -> pl.DataFrame:
    """Counts of values that are in order."""
    return pl.DataFrame(
        [values.alias("value").set_sorted(), pl.Series("count", counts, dtype=pl.Int64)]
    )


def encode_counts(counted: pl.DataFrame, limit: int) -> bytes | None:
    """What ``count_values`` gives, by value, as bytes; None if there are more than ``limit``."""
    if counted.height > limit:
        return None
    # Polars would take longer to be asked than to see that there is nothing to do.
    in_order = counted["value"].flags["SORTED_ASC"]
    return _encode(counted if in_order else counted.sort("value"))


def decode_counts(encoded: bytes) -> pl.DataFrame:
    """Read back what ``encode_counts`` gave."""
    return pl.read_ipc_stream(encoded)


def add_up(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The counts of all of them together, in no order."""
    if len(frames) == 1:
        return frames[0]
    return pl.concat(frames).group_by("value").agg(pl.col("count").sum())


def compact(counted: pl.DataFrame) -> pl.DataFrame:
    """The same, without the bytes of much other text, which it would keep in memory."""
    values = counted["value"]
    if values.dtype != pl.String:
        return counted
    own = int(values.str.len_bytes().sum()) + _VIEW * len(values)
    return decode_counts(_encode(counted)) if values.estimated_size() > 2 * own else counted


def ranked(counted: pl.DataFrame) -> pl.DataFrame:
    """The most frequent values first, equally frequent ones by value."""
    return counted.sort("count", "value", descending=[True, False])


def _encode(counted: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    # In the oldest layout, which holds no text but that of these values.
    counted.write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
    return stream.getvalue()


class Counts:
    """The counts of all shards, as long as there are at most ``limit`` different values.

    Whether there are does not depend on the order of the shards, nor on what a shard is.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._known: pl.DataFrame | None = None
        self._waiting: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, counted: pl.DataFrame) -> list[pl.DataFrame]:
        """Add the counts of a shard; returns what ``settle`` does, or nothing as yet."""
        self._waiting.append(counted)
        self._rows += counted.height
        enough = self._rows > 4 * self.limit or len(self._waiting) > _WAITING_SHARDS
        return self.settle() if enough else []

    def settle(self) -> list[pl.DataFrame]:
        """Merge what was added since.

        Returns:
            Nothing while the values are few enough. Otherwise everything that was added, in its
            order, and forgotten here.
        """
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if not waiting:
            return []
        frames = waiting if self._known is None else [self._known, *waiting]
        merged = add_up(frames)
        too_many = merged.height > self.limit
        self._known = None if too_many else compact(merged)
        return frames if too_many else []

    def give_up(self) -> list[pl.DataFrame]:
        """Stop counting: everything that was added, in its order, and forgotten here."""
        waiting, self._waiting, self._rows = self._waiting, [], 0
        known, self._known = self._known, None
        return waiting if known is None else [known, *waiting]

    def by_value(self) -> pl.DataFrame:
        """``value`` and ``count``, ascending; after ``settle``."""
        return pl.DataFrame() if self._known is None else self._known.sort("value")

    def by_frequency(self) -> pl.DataFrame:
        """``value`` and ``count`` as ``ranked``; after ``settle``."""
        return pl.DataFrame() if self._known is None else ranked(self._known)


def up_to_too_many(frames: Sequence[pl.DataFrame], limit: int) -> list[pl.DataFrame]:
    """Merge the first of them, up to the one that brings more values than ``limit``, or all.

    So the result does not depend on how many of them were merged before.
    """
    merged: pl.DataFrame | None = None
    for place, counted in enumerate(frames):
        if merged is not None and merged.height > limit:
            return [merged, *frames[place:]]
        merged = counted if merged is None else add_up([merged, counted])
    return [] if merged is None else [merged]
