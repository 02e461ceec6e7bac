"""Text as terms: words and n-grams, how many documents hold them, and how much each weighs.

A document is the text of one row. The weight of a term is that of TensorFlow Transform's ``tfidf``:
the share of the document's terms that are this one, times ``1 + ln((N + 1) / (d + 1))``, where d of
N documents hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["Documents", "Terms", "ngrams", "weigh", "words"]

#: ASCII white space: what else counts as such changes from one version of Unicode to the next.
_WORD: Final = r"[^ \t\n\r\f\v]+"


class Terms(NamedTuple):
    """The terms of a column's documents, one after another.

    Attributes:
        rows: The row of each term, ascending.
        values: Each term: a text, or its number after a vocabulary or hashing.
        sizes: How many terms each document has.
        missing: How many documents are missing; they have no terms.
    """

    rows: npt.NDArray[np.int64]
    values: pl.Series
    sizes: npt.NDArray[np.int64]
    missing: int

    @classmethod
    def of(cls, lists: pl.Series) -> Terms:
        """From a list of texts for each row."""
        sizes = lists.list.len().fill_null(0).cast(pl.Int64).to_numpy()
        rows = np.repeat(np.arange(len(lists), dtype=np.int64), sizes)
        # An empty list is a null when lists are laid end to end.
        return cls(rows, lists.explode().drop_nulls(), sizes, lists.null_count())


def words(texts: pl.Series) -> Terms:
    """What stands between white space."""
    return Terms.of(texts.str.extract_all(_WORD))


def ngrams(texts: pl.Series, shortest: int, longest: int, separator: str) -> Terms:
    """Every run of ``shortest`` to ``longest`` words, joined by ``separator``."""
    found = [
        None
        if listed is None
        else [
            separator.join(listed[start : start + length])
            for length in range(shortest, longest + 1)
            for start in range(len(listed) - length + 1)
        ]
        for listed in texts.str.extract_all(_WORD).to_list()
    ]
    return Terms.of(pl.Series(texts.name, found, dtype=pl.List(pl.String)))


class Documents:
    """How often each term occurs, and in how many documents.

    Args:
        limit: With more terms than this, ``terms`` is None.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.number = 0
        self.terms: dict[Any, tuple[int, int]] | None = {}

    @classmethod
    def of(cls, terms: Terms, limit: int) -> Documents:
        """Count the terms of some documents."""
        found = cls(limit)
        found.number = len(terms.sizes) - terms.missing
        frame = pl.DataFrame({"row": terms.rows, "term": terms.values})
        counted = frame.group_by("term").agg(
            pl.len().alias("count"), pl.col("row").n_unique().alias("documents")
        )
        if counted.height > limit:
            found.terms = None
        else:
            found.terms = {term: (count, documents) for term, count, documents in counted.rows()}
        return found

    def add(self, partial: Mapping[str, Any]) -> None:
        """Add the encoded counts of another shard."""
        self.number += partial["number"]
        if self.terms is None or partial["terms"] is None:
            self.terms = None
            return
        for term, count, documents in partial["terms"]:
            before = self.terms.get(term, (0, 0))
            self.terms[term] = (before[0] + count, before[1] + documents)
        if len(self.terms) > self.limit:
            self.terms = None

    def encode(self) -> dict[str, Any]:
        """As plain data, by term."""
        terms = None
        if self.terms is not None:
            terms = sorted([term, *counts] for term, counts in self.terms.items())
        return {"number": self.number, "terms": terms}

    def most_frequent(self, limit: int) -> list[Any]:
        """Terms by descending number of occurrences, equally frequent ones by value."""
        terms = self.terms or {}
        return sorted(terms, key=lambda term: (-terms[term][0], term))[:limit]

    def inverse_frequencies(self, terms: Iterable[Any]) -> list[float]:
        """``1 + ln((N + 1) / (d + 1))`` of each term, rounded once.

        The logarithm is that of decimal arithmetic, since those of C libraries differ in the last
        bit from one to the next.
        """
        known = self.terms or {}
        found: dict[int, float] = {}
        result = []
        with localcontext() as context:
            context.prec = 40
            for term in terms:
                held = known.get(term, (0, 0))[1]
                if held not in found:
                    ratio = Decimal(self.number + 1) / Decimal(held + 1)
                    found[held] = float(1 + ratio.ln())
                result.append(found[held])
        return result


def weigh(
    terms: Terms, numbers: npt.NDArray[np.float64], inverse: Sequence[float], width: int
) -> npt.NDArray[np.float32]:
    """The weight of every term in each document, documents by ``width``.

    Args:
        terms: The terms.
        numbers: The column that each term belongs to. A term outside of the columns counts in the
            size of its document, and nowhere else.
        inverse: ``inverse_frequencies`` of the columns, or of the first of them.
        width: How many columns.
    """
    inside = (numbers >= 0) & (numbers < len(inverse))
    keys = terms.rows[inside] * width + numbers[inside].astype(np.int64)
    places, counts = np.unique(keys, return_counts=True)
    rows, columns = places // width, places % width
    weights = counts / terms.sizes[rows] * np.array(inverse, dtype=np.float64)[columns]
    weighed = np.zeros((len(terms.sizes), width), dtype=np.float32)
    weighed[rows, columns] = weights
    return weighed
