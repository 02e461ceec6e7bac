"""Splitting a dataset: one small file of assignments for each shard."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.core import Blob, Files, StepContext, load, reference
from zenml.core.errors import DataError
from zenml.steps._mixing import GAMMA, mix
from zenml.steps._shares import cuts
from zenml.steps._tables import read_parquet, write_parquet
from zenml.steps._times import TIME, TIME_REMEDY, comparable
from zenml.steps.dataset import Dataset, read_rows

if TYPE_CHECKING:
    from zenml.steps.split import BaseSplit, TimeRatioSplit

__all__ = [
    "assign_at_random",
    "assign_by_category",
    "assign_by_time",
    "check_categories",
    "check_times",
    "find_ends",
    "random_bits",
    "random_order",
    "split_dataset",
]

#: Python's types of categories to the columns that hold them.
_CATEGORIES: Final = {str: "string", int: "integer", bool: "boolean"}


def random_bits(seed: int | str, first: int, count: int) -> npt.NDArray[np.uint64]:
    """64 random bits for each of ``count`` consecutive counters, in any order and on any machine.

    Two rounds of SplitMix64's mixing function, each with 64 bits of the seed's SHA-256 as key.
    """
    key = hashlib.sha256(f"zenml random 1:{seed}".encode()).digest()
    before, between = (
        np.uint64(int.from_bytes(key[:8], "little")),
        np.uint64(int.from_bytes(key[8:16], "little")),
    )
    counters = np.arange(first, first + count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return mix(mix(counters * GAMMA + before) ^ between)


def random_order(seed: int | str, count: int) -> npt.NDArray[np.int64]:
    """A permutation of ``count`` places, the same on any machine."""
    return np.argsort(random_bits(seed, 0, count), kind="stable")


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


def check_categories(
    examples: Dataset, column: str, categories: Sequence[str | int], title: str
) -> None:
    """Raise ``DataError`` unless the column can hold such categories."""
    examples.check_columns([column])
    kind = examples.schema[column]
    wanted = _CATEGORIES[type(categories[0])]
    if kind == wanted:
        return
    if kind not in _CATEGORIES.values():
        remedy = "a categorical column is one of strings, integers or booleans"
    else:
        remedy = f"write the categories as {kind}s, or give the column another type"
    raise DataError(
        f"the categories are of type {wanted}, and column '{column}' is of type {kind}",
        where=title,
        remedy=remedy,
    )


def assign_by_category(
    values: pl.Series, domains: Mapping[str, Sequence[str | int]], other: str | None
) -> pl.Series:
    """The split of each row, by category; see ``CategoricalDomainSplit``."""
    split_of = {item: name for name, items in domains.items() for item in items}
    categories = pl.Series(list(split_of), dtype=values.dtype)
    names = pl.Series(list(split_of.values()), dtype=pl.String)
    # What is missing is in no domain either.
    split: pl.Series = values.replace_strict(categories, names, default=None)
    return split if other is None else split.fill_null(other)


def check_times(
    examples: Dataset, column: str, ends: Sequence[str | int | float], title: str
) -> None:
    """Raise ``DataError`` unless the column can hold times, and be compared with ``ends``."""
    examples.check_columns([column])
    kind = examples.schema[column]
    if kind not in ("integer", "float", "string"):
        raise DataError(
            f"column '{column}' is of type {kind}, which is no time",
            where=title,
            remedy="name a column of integers, floats or strings",
        )
    wrong = [end for end in ends if isinstance(end, str) != (kind == "string")]
    if wrong:
        raise DataError(
            f"column '{column}' is of type {kind}, and cannot be compared with {wrong[0]!r}",
            where=title,
            remedy="write the ends of the splits as the column writes its times",
        )


def assign_by_time(values: pl.Series, ends: Sequence[tuple[str, Any]], title: str) -> pl.Series:
    """The split of each row, by time; ``ends`` are ascending. See ``TimeSplit``."""
    time = pl.col("time")
    rest = ends[-1][0] if ends[-1][1] is None else None
    split: Any = pl.lit(rest, dtype=pl.String)
    for name, end in reversed(ends):
        if end is not None:
            # Whole numbers are compared as such; a cast to float would round the large ones.
            bound = math.ceil(end) if values.dtype.is_integer() else end
            bound = comparable(bound) if isinstance(bound, str) else bound
            if isinstance(bound, int) and not -(1 << 63) <= bound < 1 << 63:
                early = pl.lit(bound > 0)  # it is before or behind all that the column can hold
            else:
                early = time < pl.lit(bound)
            split = pl.when(early).then(pl.lit(name)).otherwise(split)
    frame = _times(values, title).to_frame("time")
    return frame.select(split=pl.when(time.is_not_null()).then(split))["split"]


def _times(values: pl.Series, title: str) -> pl.Series:
    """Values of which each is a time or null. Raises ``DataError`` for other text."""
    if values.dtype.is_float():
        return values.to_frame("time").select(
            pl.when(pl.col("time").is_finite()).then(pl.col("time") + 0.0)
        )["time"]
    if values.dtype == pl.String:
        strange = values.filter(~values.str.contains(TIME))
        if len(strange):
            raise DataError(
                f"{strange[0]!r} is no time whose text can be compared",
                where=f"{title}, column '{values.name}'",
                remedy=f"{TIME_REMEDY}: a step of DerivedColumns can do it",
            )
        # As ``comparable`` does.
        return values.str.strip_chars_end("Z").str.replace(" ", "T", literal=True)
    return values


def find_ends(step: TimeRatioSplit, examples: Dataset, context: StepContext) -> dict[str, Any]:
    """The ``split_map`` of a ``TimeSplit`` that gives each split its share of the rows."""
    unit = {"column": step.column, "title": step.title}
    blobs = context.map(
        count_times,
        [
            {**unit, "shard": examples.unit(shard, columns=[step.column])}
            for shard in examples.shards
        ],
    )
    names = step.get_split_names()
    # Exact: memory grows with the number of different times, not with that of rows.
    nothing = pl.DataFrame(schema={"time": pl.Int64, "rows": pl.Int64})
    frames = [read_parquet(Blob(*blob), context.files) for blob in blobs] or [nothing]
    times = pl.concat(frames).group_by("time").agg(pl.col("rows").sum()).sort("time")
    rows = np.concatenate([[0], np.cumsum(times["rows"].to_numpy())])
    wanted = cuts([step.split_ratio[name] for name in names], int(rows[-1]))[:-1]
    starts = [0, *(np.searchsorted(rows, wanted, side="right") - 1).tolist()]
    for name, start, end in zip(names, starts, [*starts[1:], times.height], strict=True):
        if start >= end:
            raise DataError(
                f"split '{name}' would have no rows: there are {int(rows[-1])} rows with "
                f"{times.height} different times",
                where=f"{step.title}, column '{step.column}'",
                remedy="give it a larger share, or use TimeSplit and say where splits end",
            )
    return dict(zip(names, [*times["time"].gather(starts[1:]).to_list(), None], strict=True))


def count_times(payload: Mapping[str, Any], files: Files) -> list[Any]:
    """Unit: the times of one shard, each with the number of its rows."""
    column = payload["column"]
    values = _times(read_rows(payload["shard"], files)[column], payload["title"])
    counts = values.drop_nulls().alias("time").value_counts(name="rows")
    counts = counts.sort("time").cast({"rows": pl.Int64})
    blob = write_parquet(counts, files)
    return [blob.digest, blob.size]


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
    rows = np.bincount(codes.drop_nulls().to_numpy(), minlength=len(names))
    blob = write_parquet(codes.to_frame(), files)
    return {"split": [blob.digest, blob.size], "rows": rows.tolist()}


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
