"""The data path by hand, with Polars, and with its own expression for each statistic.

What most people would write; ``with_polars.py`` is the same but for the statistics.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import polars as pl
from with_polars import BARS, LEVELS, main


def describe(data: pl.LazyFrame, name: str, *, numeric: bool) -> dict[str, Any]:
    """Describe one column."""
    column = pl.col(name)
    wanted = {
        "count": column.count(),
        "nulls": column.null_count(),
        "distinct": column.drop_nulls().n_unique(),
        "top": column.drop_nulls().value_counts(sort=True).head(20).implode(),
    }
    if numeric:
        wanted |= {
            "mean": column.mean(),
            "std": column.std(ddof=0),
            "min": column.min(),
            "max": column.max(),
            "histogram": column.hist(bin_count=BARS).implode(),
        }
        wanted |= {f"quantile {level}": column.quantile(level) for level in LEVELS}
    else:
        sizes = column.str.len_chars()
        wanted["length"] = pl.struct(min=sizes.min(), max=sizes.max(), mean=sizes.mean())
    return data.select(**wanted).collect(engine="streaming").row(0, named=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), describe)
