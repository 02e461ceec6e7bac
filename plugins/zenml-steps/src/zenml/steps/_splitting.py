"""Splitting a dataset: one small file of assignments for each shard."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.core import Blob, Files, StepContext, load, reference
from zenml.core.errors import DataError
from zenml.steps._tables import write_parquet
from zenml.steps.dataset import Dataset, read_rows

if TYPE_CHECKING:
    from zenml.steps.split import BaseSplit

__all__ = ["assign_at_random", "random_bits", "split_dataset"]

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


def random_bits(seed: int, first: int, count: int) -> npt.NDArray[np.uint64]:
    """64 random bits for each of ``count`` consecutive counters, in any order and on any machine.

    Two rounds of SplitMix64's mixing function (G. L. Steele, D. Lea and C. H. Flood, *Fast
    splittable pseudorandom number generators*, OOPSLA 2014), each with 64 bits of the seed's
    SHA-256 as key.
    """
    key = hashlib.sha256(f"zenml random 1:{seed}".encode()).digest()
    before, between = (
        np.uint64(int.from_bytes(key[:8], "little")),
        np.uint64(int.from_bytes(key[8:16], "little")),
    )
    counters = np.arange(first, first + count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        bits: npt.NDArray[np.uint64] = _mix(_mix(counters * _GAMMA + before) ^ between)
    return bits


def _mix(bits: Any) -> Any:
    bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    return bits ^ (bits >> np.uint64(31))


def assign_at_random(
    shares: Mapping[str, float], seed: int, first_row: int, rows: int
) -> pl.Series:
    """The split of each row, by shares; see ``RandomSplit``."""
    names = sorted(shares)
    total = sum(Fraction(share) for share in shares.values())
    bounds, seen = [], Fraction(0)
    for name in names[:-1]:
        seen += Fraction(shares[name])
        # Whole numbers: comparing them is exact everywhere.
        bounds.append(int(seen / total * 2**64))
    limits = np.array(bounds, dtype=np.uint64)
    codes = np.searchsorted(limits, random_bits(seed, first_row, rows), side="right")
    return pl.Series("split", names, dtype=pl.Enum(names)).gather(codes)


def split_dataset(step: BaseSplit, examples: Dataset, context: StepContext) -> Dataset:
    """See ``BaseSplit.run``."""
    names = list(step.get_split_names())
    if not names or "" in names or len(set(names)) != len(names):
        raise DataError(
            f"the splits need different names, and are called {names}",
            where=f"{step.title}.get_split_names()",
        )
    columns = step.reads()
    maker = {"step": reference(type(step)), "parameters": step.parameters(), "splits": names}
    results = context.map(
        split_shard,
        [{**maker, "shard": examples.unit(shard, columns=columns)} for shard in examples.shards],
    )
    blobs = [Blob(*result["split"]) for result in results]
    return examples.with_splits(names, blobs, [result["rows"] for result in results])


def split_shard(payload: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """Unit: assign the rows of one shard."""
    step: BaseSplit = load(payload["step"])(**payload["parameters"])
    names = payload["splits"]
    frame = read_rows(payload["shard"], files)
    codes = _codes(step.assign(frame, payload["shard"]["first_row"]), names, step.title)
    if len(codes) != frame.height:
        raise DataError(
            f"assign() was given {frame.height} rows and returned {len(codes)} assignments",
            where=step.title,
            remedy="return one split name, or None, for each row of the frame",
        )
    counts = codes.value_counts(name="count").drop_nulls()
    rows = dict(zip(counts["split"].to_list(), counts["count"].to_list(), strict=True))
    blob = write_parquet(codes.to_frame(), files)
    return {
        "split": [blob.digest, blob.size],
        "rows": [rows.get(code, 0) for code in range(len(names))],
    }


def _codes(assigned: Any, names: list[str], title: str) -> pl.Series:
    """Positions in ``names``, as small integers."""
    series = assigned if isinstance(assigned, pl.Series) else pl.Series("split", assigned)
    try:
        if series.dtype != pl.Enum(names):
            series = series.cast(pl.String).cast(pl.Enum(names))
    except pl.exceptions.PolarsError as error:
        found = series.drop_nulls().cast(pl.String, strict=False).unique()
        unknown = sorted(set(found.to_list()) - set(names))
        raise DataError(
            f"assign() returned what is no split: {', '.join(map(repr, unknown[:5]))}",
            where=title,
            remedy=f"return one of get_split_names(): {', '.join(names)}",
        ) from error
    codes: pl.Series = series.to_physical().cast(pl.UInt16).alias("split")
    return codes
