"""Sketches: how many values there are and which are frequent, where there are too many to count.

Both are folded shard by shard, in order. How many values there are does not depend on the shards;
which are frequent does, since what is rare in a shard is forgotten with it. Neither depends on
backends, workers or threads.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.steps._counts import add_up, compact, decode_counts, encode_counts, ranked
from zenml.steps._mixing import GAMMA, mix

__all__ = ["DISTINCT_ERROR", "Distinct", "Frequent"]

#: Hashes that are kept of a column, and values that are counted of it.
_KEPT: Final = 8_192
_COUNTED: Final = 1_000
#: Bytes of text that are hashed at once, and how long a text may be to be hashed so.
_WORD: Final = 8
_LONG: Final = 256
_NO_HASHES: Final = np.empty(0, dtype=np.uint64)
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
        self._kept: list[npt.NDArray[np.uint64]] = []
        self._size = 0

    @classmethod
    def of(cls, values: pl.Series) -> Distinct:
        """Look at different values, as ``count_values`` gives them."""
        sketch = cls()
        hashes = _hashes(values)
        sketch._keep(hashes)
        return sketch

    def add(self, encoded: bytes) -> None:
        """Add the encoded sketch of another shard."""
        self._keep(np.frombuffer(encoded, dtype="<u8").astype(np.uint64))

    def add_values(self, values: pl.Series) -> None:
        """Add values that were counted."""
        self._keep(_hashes(values))

    def _keep(self, hashes: npt.NDArray[np.uint64]) -> None:
        if len(hashes) > 4 * _KEPT:  # all differ, and finding the smaller ones is quick
            hashes = np.partition(hashes, 2 * _KEPT)[: 2 * _KEPT]
        self._kept.append(hashes)
        self._size += len(hashes)
        if self._size > 8 * _KEPT:
            self.smallest()

    def smallest(self) -> npt.NDArray[np.uint64]:
        """The hashes that are kept, ascending."""
        hashes = np.unique(np.concatenate(self._kept)) if self._kept else _NO_HASHES
        self._kept, self._size = [hashes[:_KEPT]], min(len(hashes), _KEPT)
        return self._kept[0]

    def estimate(self) -> int:
        """How many different values there are."""
        hashes = self.smallest()
        if len(hashes) < _KEPT:
            return len(hashes)
        return ((_KEPT - 1) << 64) // (int(hashes[-1]) + 1)

    def encode(self) -> bytes:
        """As bytes."""
        return self.smallest().astype("<u8").tobytes()


class Frequent:
    """The most frequent values of a column, with counts that are too small by a known number.

    Up to 1,000 values are counted. Where there are more, the count of the next one is taken from
    each, and what has none left is forgotten (J. Misra and D. Gries, *Finding repeated elements*,
    Sci. Comput. Program. 2, 1982; merged as in P. K. Agarwal, G. Cormode, Z. Huang, J. M. Phillips,
    Z. Wei and K. Yi, *Mergeable summaries*, PODS 2012). So ``error`` is at most 0.1 % of the number
    of values, and no value that is more frequent is missed.

    Attributes:
        error: How much a count may be too small; 0 if nothing was forgotten.
    """

    def __init__(self) -> None:
        self._counted: pl.DataFrame | None = None
        self.error = 0

    @classmethod
    def of(cls, counted: pl.DataFrame) -> Frequent:
        """From what ``count_values`` gives."""
        sketch = cls()
        sketch.add(counted)
        return sketch

    def add_encoded(self, counted: bytes, error: int) -> None:
        """Add the encoded sketch of another shard."""
        self.add(decode_counts(counted), error)

    def add(self, counted: pl.DataFrame, error: int = 0) -> None:
        """Add counts that are too small by at most ``error``."""
        if self._counted is not None:
            counted = add_up([self._counted, counted])
        self.error += error
        if counted.height > _COUNTED:
            counts = counted["count"].to_numpy()
            taken = int(np.partition(counts, -_COUNTED - 1)[-_COUNTED - 1])
            self.error += taken
            places = np.flatnonzero(counts > taken)
            values = counted["value"].gather(places)
            counted = pl.DataFrame([values, pl.Series("count", counts[places] - taken)])
        self._counted = compact(counted)

    def by_frequency(self) -> list[list[Any]]:
        """``[value, count]``, the most frequent first, equally frequent ones by value.

        A count is at most the true one, and at least that less ``error``.
        """
        return [] if self._counted is None else list(map(list, ranked(self._counted).rows()))

    def encode(self) -> list[Any]:
        """As plain data: the arguments of ``add_encoded``."""
        assert self._counted is not None
        return [encode_counts(self._counted, _COUNTED), self.error]


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
