"""Statistics and schema of a dataset, measured shard by shard while it is written.

Counts, extremes, means and standard deviations are exact (rounded once). Quantiles and histograms
are exact for columns of at most ``DISTINCT_LIMIT`` distinct values; beyond that they come from the
fixed bins of ``_measures.Sketch``, whose relative error is below 0.4 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl

from zenml.core import Blob, Files
from zenml.steps._measures import Counts, Moments, Sketch, histogram, numbers_of, quantiles
from zenml.steps._plain import decode, encode

__all__ = ["measure", "merge", "schema_of"]

#: Up to so many distinct values of a column are counted exactly.
DISTINCT_LIMIT: Final = 10_000
TOP: Final = 20
BARS: Final = 20
LEVELS: Final = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


def measure(frame: pl.DataFrame, files: Files) -> Blob:
    """Measure one shard; the partial is stored, since it may be large."""
    partial = {"rows": frame.height, "columns": [_measure(series) for series in frame]}
    return files.put_bytes(encode(partial))


def _measure(series: pl.Series) -> dict[str, Any]:
    counts = Counts.of(series, DISTINCT_LIMIT).encode()
    if series.dtype == pl.String:
        lengths = numbers_of(series.str.len_chars().cast(pl.Int64))
        return {
            "nulls": series.null_count(),
            "counts": counts,
            "lengths": Moments.of(lengths.finite).encode(),
        }
    numbers = numbers_of(series)
    partial = {
        "nulls": numbers.nulls,
        "counts": counts,
        "moments": Moments.of(numbers.finite).encode(),
    }
    if series.dtype != pl.Boolean:
        partial["nans"] = numbers.nans
        partial["infinite"] = numbers.infinite
        if counts is None:  # bins follow from counts where there are any
            partial["bins"] = Sketch.of(numbers.finite).encode()
    return partial


class _Column:
    """One column's measures, while shards are added."""

    def __init__(self) -> None:
        self.plain = dict.fromkeys(("nulls", "nans", "infinite"), 0)
        self.counts = Counts(DISTINCT_LIMIT)
        self.moments = Moments()
        self.sketch = Sketch()

    def add(self, partial: Mapping[str, Any]) -> None:
        for name in self.plain:
            self.plain[name] += partial.get(name, 0)
        self._add_values(partial)
        self.moments = self.moments.plus(
            Moments.decode(partial.get("moments") or partial["lengths"])
        )

    def _add_values(self, partial: Mapping[str, Any]) -> None:
        """Keep counts while there are few values, and bins from then on."""
        known, counts = self.counts.values, partial["counts"]
        self.counts.add(counts)
        if self.counts.values is not None or "lengths" in partial:
            return
        if known is not None:
            self.sketch.add_counts(known.items())
        if counts is None:
            self.sketch.add(partial["bins"])
        elif known is None:
            self.sketch.add_counts(counts)

    def finish(self, name: str, kind: str, rows: int) -> dict[str, Any]:
        values = self.counts.values
        result: dict[str, Any] = {
            "name": name,
            "type": kind,
            "count": rows - self.plain["nulls"],
            "nulls": self.plain["nulls"],
            "distinct": None if values is None else len(values),
            "top": None if values is None else self.counts.by_frequency()[:TOP],
        }
        moments = self.moments
        if kind == "string":
            result["length"] = {
                "min": moments.minimum,
                "max": moments.maximum,
                "mean": moments.mean(),
            }
            return result
        result["mean"] = moments.mean()
        if kind == "boolean":
            return result
        result |= {
            "nans": self.plain["nans"],
            "infinite": self.plain["infinite"],
            "min": moments.minimum,
            "max": moments.maximum,
            "std": moments.deviation(),
            "zeros": self.sketch.bins.get(0, 0) if values is None else values.get(0, 0),
        }
        if moments.minimum is not None and moments.maximum is not None:
            low, high = moments.minimum, moments.maximum
            pairs = self.sketch.pairs() if values is None else sorted(values.items())
            found = quantiles(pairs, LEVELS)
            # The extremes are known exactly, and nothing lies outside of them.
            result["quantiles"] = [
                [level, min(max(value, low), high)]
                for level, value in zip(LEVELS, [low, *found[1:-1], high], strict=True)
            ]
            result["histogram"] = histogram(pairs, float(low), float(high), BARS)
        return result


def merge(partials: Iterable[Blob], schema: Mapping[str, str], files: Files) -> dict[str, Any]:
    """Merge the shards' partials, in their order, into the statistics of the whole.

    Args:
        partials: What ``measure`` stored; one at a time is in memory.
        schema: Column name to type, in order.
        files: Reads the partials.

    Returns:
        ``{"rows": …, "columns": [{"name", "type", "count", "nulls", "distinct", "top", …}]}``.
        ``distinct`` and ``top`` are None beyond ``DISTINCT_LIMIT`` distinct values.
    """
    rows = 0
    columns = [_Column() for _ in schema]
    for blob in partials:
        partial = decode(files.fetch(blob).read_bytes())
        rows += partial["rows"]
        for column, measured in zip(columns, partial["columns"], strict=True):
            column.add(measured)
    return {
        "rows": rows,
        "columns": [
            column.finish(name, kind, rows)
            for column, (name, kind) in zip(columns, schema.items(), strict=True)
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
