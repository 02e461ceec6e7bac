"""Sequencing a dataset in two rounds of units, with files in the store between them.

First, every shard is divided by category into buckets; their number is fixed, and a bucket holds
all rows of its categories. Then every bucket is put in the order of time, cut into sessions,
resampled, filled, and cut into sequences. So memory holds a shard or a bucket, never more.

No result depends on the order of rows: of equal timestamps, none is before the other.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from polars import selectors

from zenml.core import Blob, Files, StepContext
from zenml.core.errors import ConfigurationError, DataError, Problem
from zenml.steps._methods import fits, nearest_column
from zenml.steps._sequence_methods import (
    DEFAULTS,
    FILLINGS,
    RESAMPLINGS,
    filling_of,
    microseconds,
    resampling_of,
)
from zenml.steps._tables import dtype_of, read_parquet, write_parquet
from zenml.steps.dataset import SPLIT_PART, Column, Dataset, Shard, read_rows

if TYPE_CHECKING:
    from zenml.steps.sequencer import StandardSequencer

__all__ = ["divide_shard", "sequence_bucket", "sequence_dataset"]

#: Part of what identifies a result, since the order of the sequences follows it.
_BUCKETS: Final = 64
_PART: Final = "sequences"
_DAY: Final = 86_400_000_000
#: The end of the year 9999, in seconds.
_LATEST: Final = 253_402_300_799
#: Steps of a session, beyond which a frequency is a mistake.
_LONGEST: Final = 10_000_000


def sequence_dataset(step: StandardSequencer, examples: Dataset, context: StepContext) -> Dataset:
    """See ``StandardSequencer.run``."""
    columns = _columns(step, examples.schema)
    names = [column["column"] for column in columns]
    keys = [name for name in (step.timestamp_column, step.category_column) if name is not None]
    divided = context.map(
        divide_shard,
        [
            {
                "shard": examples.unit(shard, columns=[*keys, *names]),
                "split": _plain(shard.files[SPLIT_PART]) if examples.splits else None,
                "timestamp": step.timestamp_column,
                "category": step.category_column,
                "columns": names,
            }
            for shard in examples.shards
        ],
    )
    frequency = microseconds(step.resampling_freq)
    assert frequency is not None
    timestamp = [step.timestamp_column, "float" if frequency % 1_000_000 else "integer"]
    plan = {
        "timestamp": timestamp,
        "category": step.category_column,
        "columns": columns,
        "frequency": frequency,
        "gap": step.gap_threshold * 1_000_000,
        "length": step.sequence_length,
        "shift": step.sequence_shift,
        "splits": len(examples.splits),
    }
    buckets = sorted({bucket for files in divided for bucket in files}, key=int)
    made = context.map(
        sequence_bucket,
        [
            {**plan, "files": [files[bucket] for files in divided if bucket in files]}
            for bucket in buckets
        ],
    )
    shards: list[Shard] = []
    for result in made:
        if not result["rows"]:
            continue
        first_row = shards[-1].first_row + shards[-1].rows if shards else 0
        files = {part: Blob(*blob) for part, blob in result["files"].items()}
        shards.append(Shard(first_row, result["rows"], files, tuple(result["split_rows"])))
    if not shards:
        raise DataError(
            f"no session lasts for {step.sequence_length} steps of {step.resampling_freq}, so "
            "there is no sequence",
            where=step.title,
            remedy=f"a session ends where no row follows for gap_threshold={step.gap_threshold} "
            "seconds: raise that, or take shorter steps or sequences",
        )
    types = _types(columns, step, examples.schema, timestamp)
    return Dataset(
        tuple(Column(name, kind, _PART) for name, kind in types.items()),
        tuple(shards),
        examples.splits,
    )


# -- what is to be done ----------------------------------------------------------------------------


def _columns(step: StandardSequencer, schema: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each column's resampling and filling, and the types before and after these."""
    raw = [name for name, kind in schema.items() if kind in DEFAULTS]
    overwrite = step.overwrite or {}
    problems = [
        Problem(path, f"'{name}' is of type {schema[name]}, of which there are no sequences")
        if name in schema
        else Problem(path, f"the data has no column '{name}'", nearest_column(name, raw))
        for path, name in (
            ("timestamp_column", step.timestamp_column),
            ("category_column", step.category_column),
            *((f"overwrite.{name}", name) for name in overwrite),
        )
        if name is not None and name not in raw
    ]
    for path, name, allowed in (
        ("timestamp_column", step.timestamp_column, ("integer", "float")),
        ("category_column", step.category_column, ("string", "integer", "boolean")),
    ):
        if name in raw and schema[name] not in allowed:
            remedy = "give Unix timestamps, in seconds" if path == "timestamp_column" else None
            problems.append(
                Problem(
                    path,
                    f"'{name}' is of type {schema[name]}, and must be one of {', '.join(allowed)}",
                    remedy,
                )
            )
    columns = []
    for name in raw:
        if name in (step.timestamp_column, step.category_column):
            continue
        resampling, filling = DEFAULTS[schema[name]]
        column = _column(
            name,
            schema[name],
            resampling_of(overwrite.get(name, {}).get("resampling", resampling)),
            overwrite.get(name, {}).get("filling"),
            filling,
        )
        problems += _misfits(column)
        columns.append(column)
    counts = Counter(
        [
            *(
                f"{column['column']}_{at}"
                for column in columns
                for at in range(step.sequence_length)
            ),
            step.timestamp_column,
            step.category_column,
        ]
    )
    problems += [
        Problem("examples", f"two columns of the result would be called '{name}'", "rename one")
        for name in sorted(str(name) for name, count in counts.items() if count > 1)
    ]
    if problems:
        raise ConfigurationError(f"{step.title} does not fit the data", problems)
    return columns


def _column(
    name: str, kind: str, resampling: dict[str, Any], filling: Any, default: Any
) -> dict[str, Any]:
    resampled = kind if resampling["method"] == "mode" else "float"
    if resampling["method"] == "threshold":
        resampled = "string" if isinstance(resampling["parameters"]["set_value"], str) else "float"
    if filling is None:
        # That of the type which is to be filled, where resampling gives another.
        filling = default if resampled == kind else DEFAULTS[resampled][1]
    spelled = filling_of(filling)
    becomes = "float" if spelled["method"] == "mean" else resampled
    return {
        "column": name,
        "from": kind,
        "resampled": resampled,
        "type": becomes,
        "resampling": resampling,
        "filling": spelled,
    }


def _misfits(column: Mapping[str, Any]) -> list[Problem]:
    kind, path, name = column["from"], f"overwrite.{column['column']}", column["column"]
    resampling, filling = column["resampling"], column["filling"]
    problems = []
    if kind not in RESAMPLINGS[resampling["method"]].takes:
        message = f"'{resampling['method']}' cannot be applied to '{name}', which is of type {kind}"
        problems.append(Problem(f"{path}.resampling", message, "use 'mode' or 'threshold'"))
    compared = resampling["parameters"].get("c_value")
    if compared is not None and isinstance(compared, str) is not (kind == "string"):
        message = f"'{name}' is of type {kind}, and {compared!r} is not"
        problems.append(Problem(f"{path}.resampling.c_value", message))
    resampled = column["resampled"]
    if resampled not in FILLINGS[filling["method"]].takes:
        message = f"'{name}' is resampled to type {resampled}, which has no {filling['method']}"
        problems.append(Problem(f"{path}.filling", message, "use 'forward' or 'custom'"))
    if filling["method"] == "custom":
        value = filling["parameters"]["custom_value"]
        if not fits(value, resampled):
            message = f"'{name}' is resampled to type {resampled}, and {value!r} is not"
            problems.append(Problem(f"{path}.filling.custom_value", message))
    return problems


def _types(
    columns: Sequence[Mapping[str, Any]],
    step: StandardSequencer,
    schema: Mapping[str, str],
    timestamp: Sequence[str],
) -> dict[str, str]:
    """Name to type of the columns of the result."""
    types = (
        {} if step.category_column is None else {step.category_column: schema[step.category_column]}
    )
    types[timestamp[0]] = timestamp[1]
    for column in columns:
        for place in range(step.sequence_length):
            types[f"{column['column']}_{place}"] = column["type"]
    return types


def _plain(blob: Blob) -> list[Any]:
    return [blob.digest, blob.size]


# -- dividing --------------------------------------------------------------------------------------


def divide_shard(payload: Mapping[str, Any], files: Files) -> dict[str, list[Any]]:
    """Unit: divide the rows of one shard by category; returns bucket to blob."""
    frame = read_rows(payload["shard"], files)
    made = [_microseconds(frame[payload["timestamp"]], payload["shard"]["first_row"]).alias("at")]
    category = payload["category"]
    if category is None:
        made.append(pl.Series("category", [None] * frame.height, dtype=pl.String))
    else:
        made.append(frame[category].alias("category"))
    if payload["split"] is None:
        made.append(pl.Series("split", [0] * frame.height, dtype=pl.UInt16))
    else:
        made.append(read_parquet(Blob(*payload["split"]), files, ["split"])["split"])
    # By position, so that no column is called as one of ours.
    made += [frame[name].alias(str(place)) for place, name in enumerate(payload["columns"])]
    rows = pl.DataFrame(made).filter(pl.col("split").is_not_null())
    buckets = _buckets(rows["category"])
    found = {}
    for bucket in sorted(set(buckets.to_list())):
        blob = write_parquet(rows.filter(buckets == bucket), files)
        found[str(bucket)] = _plain(blob)
    return found


def _buckets(categories: pl.Series) -> pl.Series:
    """The bucket of each category: a missing one has one, too."""
    texts = categories.cast(pl.String)
    known = texts.drop_nulls().unique()
    places = [_bucket(text) for text in known.to_list()]
    if not places:
        return pl.Series("bucket", [0] * len(texts), dtype=pl.Int64)
    found: pl.Series = texts.replace_strict(
        known, pl.Series(places, dtype=pl.Int64), default=0, return_dtype=pl.Int64
    )
    return found.fill_null(0)


def _bucket(text: str) -> int:
    return (
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") % _BUCKETS
    )


def _microseconds(series: pl.Series, first_row: int) -> pl.Series:
    """Timestamps in whole microseconds. Raises ``DataError`` for what is none."""
    seconds = series.cast(pl.Float64).fill_null(math.nan)
    wrong = ~(seconds.is_between(-_LATEST, _LATEST) & seconds.is_not_nan())
    if wrong.any():
        place = int(wrong.arg_max() or 0)
        value = series[place]
        if value is None or math.isnan(value):
            message, remedy = f"'{series.name}' is missing", "leave out the rows without a time"
        else:
            message = f"'{series.name}' is {value!r}, which is no time before the year 10000"
            remedy = "give Unix timestamps in seconds; divide milliseconds by 1000"
        raise DataError(message, where=f"row {first_row + place + 1}", remedy=remedy)
    if series.dtype == pl.Int64:
        return series * 1_000_000
    found: pl.Series = (seconds * 1e6).round(mode="half_to_even").cast(pl.Int64)
    return found


# -- sequencing ------------------------------------------------------------------------------------


def sequence_bucket(payload: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """Unit: make the sequences of one bucket; returns the blobs of a shard, and its rows."""
    frame = pl.concat([read_parquet(Blob(*blob), files) for blob in payload["files"]])
    frame = frame.sort(["split", "category", "at"]).with_columns(selectors.float().fill_nan(None))
    made = _Sequences(payload)
    columns = [frame[str(place)] for place in range(len(payload["columns"]))]
    at = frame["at"].to_numpy()
    for start, stop in _sessions(frame, payload["gap"]):
        made.add(
            frame["split"][start],
            frame["category"][start],
            at[start:stop],
            [column[start:stop] for column in columns],
        )
    return made.store(frame["category"].dtype, files)


def _sessions(frame: pl.DataFrame, gap: int) -> Iterator[tuple[int, int]]:
    """First row and end of each session."""
    if not frame.height:
        return iter(())
    new = frame.select(
        pl.col("split").ne(pl.col("split").shift(1)).fill_null(value=True)
        | pl.col("category").ne_missing(pl.col("category").shift(1))
        | (pl.col("at").diff() >= gap)
    ).to_series()
    starts = np.flatnonzero(new.to_numpy()).tolist()
    return zip(starts, [*starts[1:], frame.height], strict=True)


class _Sequences:
    """The sequences of a bucket, while sessions are added."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.plan = plan
        self.splits: list[int] = []
        self.categories: list[Any] = []
        self.starts: list[int] = []
        #: For each column its values at each place of the sequences.
        self.values: list[list[list[Any]]] = [
            [[] for _ in range(plan["length"])] for _ in plan["columns"]
        ]

    def add(
        self, split: int, category: Any, at: npt.NDArray[np.int64], columns: Sequence[pl.Series]
    ) -> None:
        """Add the sequences of a session: rows in the order of time."""
        frequency, length = self.plan["frequency"], self.plan["length"]
        midnight = int(at[0]) // _DAY * _DAY
        steps = (at - midnight) // frequency
        first, number = int(steps[0]), int(steps[-1] - steps[0]) + 1
        if number > _LONGEST:
            raise DataError(
                f"a session has {number:,} steps, more than {_LONGEST:,}",
                where=f"category {category!r}" if self.plan["category"] else None,
                remedy="take longer steps (resampling_freq), or end sessions earlier "
                "(gap_threshold)",
            )
        places = range(0, number - length + 1, self.plan["shift"])
        if not places:
            return
        self.splits += [split] * len(places)
        self.categories += [category] * len(places)
        self.starts += [midnight + (first + place) * frequency for place in places]
        cuts = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1)).tolist()
        cells = list(zip((steps[cuts] - first).tolist(), cuts, [*cuts[1:], len(at)], strict=True))
        for column, series, kept in zip(self.plan["columns"], columns, self.values, strict=True):
            resample = _RESAMPLE[column["resampling"]["method"]]
            listed = series.to_list()
            values: list[Any] = [None] * number
            for place, start, stop in cells:
                present = [value for value in listed[start:stop] if value is not None]
                if present:
                    values[place] = resample(present, **column["resampling"]["parameters"])
            values = _fill(column["filling"], values)
            if column["type"] == "float":
                # Adding zero makes one zero of the two.
                values = [None if value is None else float(value) + 0.0 for value in values]
            for offset, found in enumerate(kept):
                found += [values[place + offset] for place in places]

    def store(self, category: pl.DataType, files: Files) -> dict[str, Any]:
        """Write the sequences as a shard."""
        name, kind = self.plan["timestamp"]
        made = []
        if self.plan["category"] is not None:
            made.append(pl.Series(self.plan["category"], self.categories, dtype=category))
        at = [start // 1_000_000 if kind == "integer" else start / 1e6 for start in self.starts]
        made.append(pl.Series(name, at, dtype=dtype_of(kind)))
        for column, kept in zip(self.plan["columns"], self.values, strict=True):
            dtype = dtype_of(column["type"])
            made += [
                pl.Series(f"{column['column']}_{place}", values, dtype=dtype)
                for place, values in enumerate(kept)
            ]
        parts = {_PART: _plain(write_parquet(pl.DataFrame(made), files))}
        rows: list[int] = []
        if self.plan["splits"]:
            codes = pl.Series("split", self.splits, dtype=pl.UInt16)
            parts[SPLIT_PART] = _plain(write_parquet(codes.to_frame(), files))
            rows = [self.splits.count(code) for code in range(self.plan["splits"])]
        return {"rows": len(self.starts), "files": parts, "split_rows": rows}


def _mean(values: Sequence[Any]) -> float | None:
    """From the exact sum; None if it is infinite in both directions."""
    if isinstance(values[0], float):
        if math.inf in values or -math.inf in values:
            total = sum(value for value in values if math.isinf(value))
            return None if math.isnan(total) else total
        try:
            return math.fsum(values) / len(values)
        except OverflowError:
            return math.fsum(value / len(values) for value in values)
    return float(sum(values) / len(values))


def _median(values: Sequence[Any]) -> float | None:
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[half])
    return _mean([ordered[half - 1], ordered[half]])


def _mode(values: Sequence[Any]) -> Any:
    counts = Counter(values)
    most = max(counts.values())
    return min(value for value, count in counts.items() if count == most)


_HOLDS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "equal": lambda value, other: bool(value == other),
    "greater": lambda value, other: bool(value > other),
    "greater_or_equal": lambda value, other: bool(value >= other),
    "less": lambda value, other: bool(value < other),
    "less_or_equal": lambda value, other: bool(value <= other),
}


def _threshold(
    values: Sequence[Any], cond: str, c_value: Any, threshold: float, set_value: Any
) -> Any:
    if cond == "includes":
        reached = c_value in values
    else:
        holds = _HOLDS[cond]
        reached = sum(holds(value, c_value) for value in values) / len(values) > threshold
    return set_value if reached else None


_RESAMPLE: Final[Mapping[str, Callable[..., Any]]] = {
    "mean": _mean,
    "median": _median,
    "mode": _mode,
    "threshold": _threshold,
}


def _fill(filling: Mapping[str, Any], values: list[Any]) -> list[Any]:
    """The values of a session's steps, filled from each other."""
    method = filling["method"]
    if method == "backwards":
        return _forward(values[::-1])[::-1]
    if method == "forward":
        return _forward(values)
    present = [value for value in values if value is not None]
    if method == "custom":
        fill = filling["parameters"]["custom_value"]
    elif not present:
        return values
    else:
        fill = {"max": max, "mean": _mean, "min": min}[method](present)  # type: ignore[operator]
    return [fill if value is None else value for value in values]


def _forward(values: Sequence[Any]) -> list[Any]:
    filled: list[Any] = []
    for value in values:
        filled.append(filled[-1] if value is None and filled else value)
    return filled
