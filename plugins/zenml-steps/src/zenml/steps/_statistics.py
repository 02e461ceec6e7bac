"""Statistics and schema of a dataset, measured shard by shard while it is written.

Counts, extremes, means, standard deviations and histograms are exact (rounded once). Distinct and
frequent values and quantiles are exact for columns of at most ``DISTINCT_LIMIT`` distinct values;
beyond that the first two are estimates of ``_sketches``, and quantiles come from the fixed bins of
``_measures.Sketch``, whose relative error is below 0.4 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl

from zenml.core import Blob, Files
from zenml.steps._bars import Bars
from zenml.steps._counts import (
    Counts,
    count_values,
    decode_counts,
    encode_counts,
    up_to_too_many,
)
from zenml.steps._measures import Moments, Sketch, numbers_of, quantiles
from zenml.steps._plain import fetch, put
from zenml.steps._sketches import DISTINCT_ERROR, Distinct, Frequent
from zenml.steps._tables import DTYPES

__all__ = ["DOMAIN_LIMIT", "measure", "merge", "schema_of"]

#: Up to so many distinct values of a column are counted exactly.
DISTINCT_LIMIT: Final = 10_000
TOP: Final = 20
#: Of a column of text with at most so many distinct values, all of them are listed.
DOMAIN_LIMIT: Final = 100
LEVELS: Final = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


def measure(frame: pl.DataFrame, files: Files) -> Blob:
    """Measure one shard; the partial is stored, since it may be large."""
    partial = {"rows": frame.height, "columns": [_measure(series) for series in frame]}
    return Blob(*put(partial, files))


def _measure(series: pl.Series) -> dict[str, Any]:
    partial: dict[str, Any] = {"nulls": series.null_count()}
    text = series.dtype in (pl.String, pl.Enum)
    if not text and series.dtype not in DTYPES.values():
        return partial  # a vector, of which there is nothing more to say
    if series.dtype == pl.Binary:
        sizes = numbers_of(series.bin.size().cast(pl.Int64))
        return {**partial, "sizes": Moments.of(sizes.finite).encode()}
    counted = count_values(series)
    partial["counts"] = counts = encode_counts(counted, DISTINCT_LIMIT)
    if counts is None:
        partial["distinct"] = Distinct.of(counted["value"]).encode()
        partial["frequent"] = Frequent.of(counted).encode()
    if text:
        lengths = counted.with_columns(pl.col("value").str.len_chars())
        return {**partial, "lengths": Moments.of_counted(lengths).encode()}
    if series.dtype != pl.Boolean:
        zeros = counted["value"].to_numpy() == 0
        partial["zeros"] = int(counted["count"].to_numpy()[zeros].sum())
    if counts is not None and not series.dtype.is_float():
        partial["moments"] = Moments.of_counted(counted).encode()
        return partial
    numbers = numbers_of(series)
    partial["moments"] = Moments.of(numbers.finite).encode()
    partial["nans"] = numbers.nans
    partial["infinite"] = numbers.infinite
    if counts is None:  # bins follow from counts where there are any
        partial["bins"] = Sketch.of(numbers.finite).encode()
    return partial


class _Column:
    """One column's measures, while shards are added."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.plain = dict.fromkeys(("nulls", "nans", "infinite", "zeros"), 0)
        self.few = True
        self.counts = Counts(DISTINCT_LIMIT)
        self.moments = Moments()
        self.sketch = Sketch()
        self.distinct = Distinct()
        self.frequent = Frequent()

    def add(self, partial: Mapping[str, Any]) -> None:
        for name in self.plain:
            self.plain[name] += partial.get(name, 0)
        if self.kind not in DTYPES:
            return
        if self.kind != "binary":
            self._add_values(partial)
        measured = next(
            partial[name] for name in ("moments", "lengths", "sizes") if name in partial
        )
        self.moments = self.moments.plus(Moments.decode(measured))

    def _add_values(self, partial: Mapping[str, Any]) -> None:
        """Keep counts while there are few values, and sketches from then on."""
        encoded = partial["counts"]
        counted = None if encoded is None else decode_counts(encoded)
        if self.few and counted is not None:
            self._spill(self.counts.add(counted))
        elif counted is not None:
            self._sketch(counted)
        else:
            self._spill(self.counts.give_up())
            self.few = False
            self.distinct.add(partial["distinct"])
            self.frequent.add_encoded(*partial["frequent"])
            if "bins" in partial:
                self.sketch.add(*partial["bins"])

    def _spill(self, spilled: Sequence[pl.DataFrame]) -> None:
        """Take over what the counts gave up, if they did."""
        for counted in up_to_too_many(spilled, DISTINCT_LIMIT):
            self.few = False
            self._sketch(counted)

    def _sketch(self, counted: pl.DataFrame) -> None:
        values, counts = counted["value"], counted["count"]
        self.distinct.add_values(values)
        self.frequent.add(counted)
        if self.kind != "string":
            self.sketch.add_counts(values.to_numpy(), counts.to_numpy())

    def finish(self, name: str, rows: int) -> dict[str, Any]:
        self._spill(self.counts.settle())
        result: dict[str, Any] = {
            "name": name,
            "type": self.kind,
            "count": rows - self.plain["nulls"],
            "nulls": self.plain["nulls"],
        }
        if self.kind not in DTYPES:
            return result
        moments = self.moments
        extent = {"min": moments.minimum, "max": moments.maximum, "mean": moments.mean()}
        if self.kind == "binary":
            return {**result, "size": extent}
        result |= self._finish_values()
        if self.kind == "string":
            return {**result, "length": extent}
        result["mean"] = moments.mean()
        if self.kind == "boolean":
            return result
        result |= {
            "nans": self.plain["nans"],
            "infinite": self.plain["infinite"],
            "min": moments.minimum,
            "max": moments.maximum,
            "std": moments.deviation(),
            "zeros": self.plain["zeros"],
        }
        if moments.minimum is not None and moments.maximum is not None:
            low, high = moments.minimum, moments.maximum
            pairs = self.counts.by_value().rows() if self.few else self.sketch.pairs()
            found = quantiles(pairs, LEVELS)
            # The extremes are known exactly, and nothing lies outside of them.
            result["quantiles"] = [
                [level, min(max(value, low), high)]
                for level, value in zip(LEVELS, [low, *found[1:-1], high], strict=True)
            ]
            result["histogram"] = Bars.of(pairs, low, high, exact=self.few).encode()
        return result

    def _finish_values(self) -> dict[str, Any]:
        if not self.few:
            return {
                "distinct": self.distinct.estimate(),
                "distinct_error": DISTINCT_ERROR,
                "top": self.frequent.by_frequency()[:TOP],
                "top_error": self.frequent.error,
            }
        counted = self.counts.by_frequency()
        listed = self.kind == "string" and counted.height <= DOMAIN_LIMIT
        top = counted if listed else counted.head(TOP)
        return {"distinct": counted.height, "top": [list(row) for row in top.rows()]}


def merge(partials: Iterable[Blob], schema: Mapping[str, str], files: Files) -> dict[str, Any]:
    """Merge the shards' partials, in their order, into the statistics of the whole.

    Args:
        partials: What ``measure`` stored; one at a time is in memory.
        schema: Column name to type, in order.
        files: Reads the partials.

    Returns:
        ``{"rows": …, "columns": [{"name", "type", "count", "nulls", "distinct", "top", …}]}``.
        Beyond ``DISTINCT_LIMIT`` distinct values, ``distinct`` and ``top`` are estimates:
        ``distinct_error`` is the relative standard error of the one, and ``top_error`` says by how
        much counts of the other may be too small.
    """
    rows = 0
    columns = [_Column(kind) for kind in schema.values()]
    for blob in partials:
        partial = fetch([blob.digest, blob.size], files)
        rows += partial["rows"]
        for column, measured in zip(columns, partial["columns"], strict=True):
            column.add(measured)
    return {
        "rows": rows,
        "columns": [
            column.finish(name, rows) for column, name in zip(columns, schema, strict=True)
        ],
    }


def schema_of(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as an artifact: each column's type, and whether values of it are missing."""
    columns: Sequence[Mapping[str, Any]] = statistics["columns"]
    return {
        "columns": [
            {"name": column["name"], "type": column["type"], "nullable": column["nulls"] > 0}
            for column in columns
        ]
    }
