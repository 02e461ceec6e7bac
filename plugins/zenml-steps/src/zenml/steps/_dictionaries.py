"""Text of few different values, held as the places of these in a list: Polars' ``Enum``.

Shards store it so. It is written, counted and transformed by its different values, of which there
are thousands where there are millions of rows. Who reads rows is given text, unless it asks for
dictionaries. Whether a column of a shard is one follows from its values alone.
"""

from __future__ import annotations

from typing import Final

import polars as pl

__all__ = ["as_text", "with_dictionaries"]

#: Bytes that a place takes, beside those of the value. A dictionary is worth it where all values
#: take no more bytes than there are rows: Parquet's footer repeats them, and is not compressed.
_PLACE: Final = 4
#: Rows that are looked at first: where half of them differ, it is not worth looking at the rest.
_FIRST: Final = 1 << 10


def with_dictionaries(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its text in dictionaries, where that is worth it."""
    texts = [series for series in frame if series.dtype == pl.String]
    return frame.with_columns([_dictionary(series) for series in texts]) if texts else frame


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its dictionaries as text."""
    encoded = [series for series in frame if series.dtype == pl.Enum]
    return frame.with_columns([_texts(series) for series in encoded]) if encoded else frame


def _texts(series: pl.Series) -> pl.Series:
    # All rows share the bytes of a value; a cast would copy them for each.
    values: pl.Series = series.dtype.categories  # type: ignore[attr-defined]
    texts: pl.Series = values.gather(series.to_physical()).alias(series.name)
    return texts


def _dictionary(texts: pl.Series) -> pl.Series:
    first = texts.head(_FIRST)
    if 2 * first.n_unique() > len(first):
        return texts
    values = texts.unique().drop_nulls()
    size = int(values.str.len_bytes().sum()) + _PLACE * len(values)
    if not 0 < size <= len(texts):
        return texts
    found: pl.Series = texts.cast(pl.Enum(values.sort()))
    return found
