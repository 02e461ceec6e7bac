"""Sketches: how many values there are and which are frequent, where there are too many to count.

Both are folded shard by shard, in order. How many values there are does not depend on the shards;
which are frequent does, since what is rare in a shard is forgotten with it. Neither depends on
backends, workers or threads.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.steps._measures import in_columns
from zenml.steps._mixing import GAMMA, mix

__all__ = ["DISTINCT_ERROR", "Distinct", "Frequent"]

#: Hashes that are kept of a column, and values that are counted of it.
_KEPT: Final = 8_192
_COUNTED: Final = 1_000
#: Bytes of text that are hashed at once, and how long a text may be to be hashed so.
_WORD: Final = 8
_LONG: Final = 256
#: The relative standard error of an estimate: 1.1 %.
DISTINCT_ERROR: Final = 0.011


class Distinct:
    """An estimate of how many different values a column has.

    Of the 64-bit hashes of all values the smallest 8,192 are kept. If all hashes lay at equal
    distances, the last of these would tell how many there are (Z. Bar-Yossef, T. S. Jayram,
    R. Kumar, D. Sivakumar and L. Trevisan, *Counting distinct elements in a data stream*, RANDOM
    2002; the estimator is that of K. Beyer, P. J. Haas, B. Reinwald, Y. Sismanis and R. Gemulla,
    *On synopses for distinct-value estimation under multiset operations*, SIGMOD 2007). The
    relative standard error is 1.1 %; up to 8,191 values are exact.

    Numbers are hashed by mixing their 64 bits. So is text, eight bytes of its UTF-8 after the
    other, each with the hash of the length and of what stands before; text of more than 256 bytes
    is hashed by BLAKE2b.
    """

    def __init__(self) -> None:
        self.smallest: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    @classmethod
    def of(cls, values: pl.Series) -> Distinct:
        """Look at different values, as ``count_values`` gives them."""
        sketch = cls()
        hashes = _hashes(values)
        if len(hashes) > 4 * _KEPT:  # finding the smaller ones is quicker than sorting all
            hashes = np.partition(hashes, 2 * _KEPT)[: 2 * _KEPT]
        sketch._keep(hashes)
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
    def of(cls, counted: pl.DataFrame) -> Frequent:
        """From what ``count_values`` gives."""
        sketch = cls()
        if counted.height > _COUNTED:
            # Here, and not below, because most of them need not become Python's.
            sketch.error = int(counted["count"].top_k(_COUNTED + 1).min())  # type: ignore[arg-type]
            counted = counted.filter(pl.col("count") > sketch.error)
        counts = counted["count"] - sketch.error
        sketch.counts = dict(zip(counted["value"].to_list(), counts.to_list(), strict=True))
        return sketch

    def add(self, values: Iterable[Any], counts: Iterable[int], error: int = 0) -> None:
        """Add encoded counts: of another shard, or exact ones."""
        for value, count in zip(values, counts, strict=True):
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
        return [*in_columns(self.counts), self.error]


def _hashes(values: pl.Series) -> npt.NDArray[np.uint64]:
    if values.dtype == pl.String:
        return _text_hashes(values)
    numbers = values.to_numpy()
    if numbers.dtype.kind == "f":
        # Adding zero makes one zero of the two.
        return _hash((numbers.astype(np.float64) + 0.0).view(np.uint64))
    return _hash(numbers.astype(np.int64).view(np.uint64))


def _text_hashes(texts: pl.Series) -> npt.NDArray[np.uint64]:
    sizes = texts.str.len_bytes().to_numpy().astype(np.int64)
    # All texts laid end to end, so that a word can be read from any byte on.
    joined = "".join(texts.to_list()).encode() + bytes(_WORD)
    words = np.ndarray(len(joined) - _WORD + 1, dtype="<u8", buffer=joined, strides=(1,))
    starts = np.cumsum(sizes) - sizes
    hashes = _hash(sizes.view(np.uint64))
    left = np.flatnonzero((sizes > 0) & (sizes <= _LONG))
    done = 0
    while len(left):
        word = words[starts[left] + done].astype(np.uint64)
        # Bits of the text behind are shifted out.
        foreign = (np.maximum(done + _WORD - sizes[left], 0) * 8).astype(np.uint64)
        hashes[left] = _hash(hashes[left] ^ ((word << foreign) >> foreign))
        done += _WORD
        left = left[sizes[left] > done]
    for place in np.flatnonzero(sizes > _LONG).tolist():
        text = joined[starts[place] : starts[place] + sizes[place]]
        hashes[place] = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return hashes


def _hash(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return mix(bits + GAMMA)
