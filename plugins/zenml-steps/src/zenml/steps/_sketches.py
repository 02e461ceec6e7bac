"""Sketches: how many values there are and which are frequent, where there are too many to count.

Both are folded shard by shard, in order. How many values there are does not depend on the shards;
which are frequent does, since what is rare in a shard is forgotten with it. Neither depends on
backends, workers or threads.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["DISTINCT_ERROR", "Distinct", "Frequent", "finite_values"]

#: Hashes that are kept of a column, and values that are counted of it.
_KEPT: Final = 8_192
_COUNTED: Final = 1_000
#: The relative standard error of an estimate: 1.1 %.
DISTINCT_ERROR: Final = 0.011


def finite_values(series: pl.Series) -> pl.Series:
    """The values that are counted: neither missing, nor NaN, nor infinite."""
    series = series.drop_nulls()
    return series.filter(series.is_finite()) if series.dtype.is_float() else series


class Distinct:
    """An estimate of how many different values a column has.

    Of the 64-bit hashes of all values the smallest 8,192 are kept. If all hashes lay at equal
    distances, the last of these would tell how many there are (Z. Bar-Yossef, T. S. Jayram,
    R. Kumar, D. Sivakumar and L. Trevisan, *Counting distinct elements in a data stream*, RANDOM
    2002; the estimator is that of K. Beyer, P. J. Haas, B. Reinwald, Y. Sismanis and R. Gemulla,
    *On synopses for distinct-value estimation under multiset operations*, SIGMOD 2007). The
    relative standard error is 1.1 %; up to 8,191 values are exact.

    Text is hashed by BLAKE2b, and numbers by SplitMix64's mixing function, of their 64 bits.
    """

    def __init__(self) -> None:
        self.smallest: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    @classmethod
    def of(cls, values: pl.Series) -> Distinct:
        """Look at values as ``finite_values`` gives them."""
        sketch = cls()
        sketch._keep(_hashes(values.unique()))
        return sketch

    def add(self, encoded: str) -> None:
        """Add the encoded sketch of another shard."""
        self._keep(np.frombuffer(base64.b64decode(encoded), dtype="<u8").astype(np.uint64))

    def add_values(self, values: Iterable[Any], dtype: pl.DataType | type[pl.DataType]) -> None:
        """Add values that were counted."""
        self._keep(_hashes(pl.Series(list(values), dtype=dtype)))

    def _keep(self, hashes: npt.NDArray[np.uint64]) -> None:
        self.smallest = np.unique(np.concatenate([self.smallest, hashes]))[:_KEPT]

    def estimate(self) -> int:
        """How many different values there are."""
        if len(self.smallest) < _KEPT:
            return len(self.smallest)
        return ((_KEPT - 1) << 64) // (int(self.smallest[-1]) + 1)

    def encode(self) -> str:
        """As plain data."""
        return base64.b64encode(self.smallest.astype("<u8").tobytes()).decode()


class Frequent:
    """The most frequent values of a column, with counts that are too small by a known number.

    Up to 1,000 values are counted. Where there are more, the count of the next one is taken from
    each, and what has none left is forgotten (J. Misra and D. Gries, *Finding repeated elements*,
    Sci. Comput. Program. 2, 1982; merged as in P. K. Agarwal, G. Cormode, Z. Huang, J. M. Phillips,
    Z. Wei and K. Yi, *Mergeable summaries*, PODS 2012). So ``error`` is at most 0.1 % of the number
    of values, and no value that is more frequent is missed.

    Attributes:
        counts: Value to count: at most the true one, and at least that less ``error``.
        error: How much a count may be too small; 0 if nothing was forgotten.
    """

    def __init__(self) -> None:
        self.counts: dict[Any, int] = {}
        self.error = 0

    @classmethod
    def of(cls, values: pl.Series) -> Frequent:
        """Count values as ``finite_values`` gives them."""
        sketch = cls()
        found = values.alias("value").value_counts(name="count").cast({"count": pl.Int64})
        if found.height > _COUNTED:
            # Here, and not below, because most of them need not become Python's.
            sketch.error = int(found["count"].top_k(_COUNTED + 1).min())  # type: ignore[arg-type]
            found = found.filter(pl.col("count") > sketch.error)
        counts = (found["count"] - sketch.error).to_list()
        kept = found["value"].to_list()
        if values.dtype.is_float():
            # The two zeros are equal, and either may have been kept; adding zero makes them one.
            kept = [value + 0.0 for value in kept]
        sketch.counts = dict(zip(kept, counts, strict=True))
        return sketch

    def add(self, counts: Iterable[Sequence[Any]], error: int = 0) -> None:
        """Add encoded counts: of another shard, or exact ones."""
        for value, count in counts:
            self.counts[value] = self.counts.get(value, 0) + count
        self.error += error
        if len(self.counts) > _COUNTED:
            taken = sorted(self.counts.values(), reverse=True)[_COUNTED]
            self.error += taken
            self.counts = {
                value: count - taken for value, count in self.counts.items() if count > taken
            }

    def by_frequency(self) -> list[list[Any]]:
        """``[value, count]``, the most frequent first, equally frequent ones by value."""
        return sorted(map(list, self.counts.items()), key=lambda pair: (-pair[1], pair[0]))

    def encode(self) -> list[Any]:
        """As plain data: the arguments of ``add``."""
        return [sorted(map(list, self.counts.items())), self.error]


def _hashes(values: pl.Series) -> npt.NDArray[np.uint64]:
    if values.dtype == pl.String:
        digests = b"".join(
            hashlib.blake2b(text.encode(), digest_size=8).digest() for text in values.to_list()
        )
        return np.frombuffer(digests, dtype="<u8").astype(np.uint64)
    numbers = values.to_numpy()
    if numbers.dtype.kind == "f":
        # Adding zero makes one zero of the two.
        bits = (numbers.astype(np.float64) + 0.0).view(np.uint64)
    else:
        bits = numbers.astype(np.int64).view(np.uint64)
    # G. L. Steele, D. Lea and C. H. Flood, *Fast splittable pseudorandom number generators*,
    # OOPSLA 2014.
    with np.errstate(over="ignore"):
        bits = bits + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = bits ^ (bits >> np.uint64(31))
    return mixed
