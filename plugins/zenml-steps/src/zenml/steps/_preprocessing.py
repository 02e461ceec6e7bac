"""Learning a transform from the training splits, and applying it to every shard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from zenml.core import Blob, Files, StepContext
from zenml.core.errors import ConfigurationError, DataError, Problem
from zenml.steps._applying import apply_transform
from zenml.steps._measures import Counts, Moments, Sketch, numbers_of, quantiles
from zenml.steps._methods import DEFAULTS, FILLINGS, TRANSFORMS, chain_of, filling_of
from zenml.steps._plain import fetch, put
from zenml.steps._splits import splits_for
from zenml.steps._tables import write_parquet
from zenml.steps.dataset import Dataset, read_rows

if TYPE_CHECKING:
    from zenml.steps.preprocesser import StandardPreprocesser

__all__ = ["analyse_shard", "preprocess", "transform_shard"]

#: float32 counts to 2**24 without gaps, and a vocabulary is part of every model.
VOCABULARY_LIMIT: Final = 1_000_000
_PART: Final = "transformed"


def preprocess(
    step: StandardPreprocesser, examples: Dataset, context: StepContext
) -> dict[str, Any]:
    """See ``StandardPreprocesser.run``."""
    train = splits_for("train", examples, step.split_mapping)
    if not sum(examples.n_rows(split) for split in train):
        raise DataError(
            f"there are no training rows: {', '.join(train)} holds none of {examples.n_rows()}",
            remedy="give the training split a larger share",
        )
    columns = _columns(step, examples.schema)
    analysed = [column for column in columns if column["needs"]]
    names = [column["column"] for column in analysed]
    wanted = [{key: column[key] for key in ("column", "needs")} for column in analysed]
    # A shard without training rows has nothing to say.
    positions = [examples.splits.index(split) for split in train]
    shards = [
        shard
        for shard in examples.shards
        if analysed and any(shard.split_rows[position] for position in positions)
    ]
    partials = context.map(
        analyse_shard,
        [
            {"shard": examples.unit(shard, columns=names, splits=train), "columns": wanted}
            for shard in shards
        ],
    )
    measured = {column["column"]: _Measured(column["needs"]) for column in analysed}
    for blob in partials:
        for name, partial in fetch(blob, context.files).items():
            measured[name].add(partial)
    transform: dict[str, Any] = {
        "version": 1,
        "columns": [_fit(column, measured.get(column["column"])) for column in columns],
    }
    stored = put(transform, context.files)
    raw = [column["column"] for column in columns]
    results = context.map(
        transform_shard,
        [
            {"shard": examples.unit(shard, columns=raw), "transform": stored}
            for shard in examples.shards
        ],
    )
    types = {column["output"]: column["output_type"] for column in transform["columns"]}
    blobs = [Blob(*result) for result in results]
    return {"examples": examples.with_part(_PART, types, blobs), "transform": transform}


# -- what is to be done ----------------------------------------------------------------------------


def _columns(step: StandardPreprocesser, schema: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each column's filling and transforms, and what must be measured for them."""
    labels = list(step.labels or [])
    raw = [name for name, kind in schema.items() if kind in DEFAULTS]
    features = [name for name in raw if name not in labels]
    if step.features is not None:
        features = list(step.features)
    overwrite = step.overwrite or {}
    problems = [
        Problem(parameter, f"the data has no column '{name}'", _close(name, raw))
        for parameter, names in (
            ("features", features),
            ("labels", labels),
            ("overwrite", list(overwrite)),
        )
        for name in names
        if name not in raw
    ]
    outputs = {f"{name}_xf" for name in features} | {f"{name}_xl" for name in labels}
    problems += [
        Problem(
            "features",
            f"the data has a column '{name}' already, and the result would be called that too",
            "leave it out of the data, or rename it there",
        )
        for name in sorted(outputs & set(raw))
    ]
    columns = []
    for role, names in (("feature", features), ("label", labels)):
        for name in names:
            if name in raw:
                column = _column(name, role, schema[name], overwrite.get(name, {}))
                problems += _misfits(column)
                columns.append(column)
    if problems:
        raise ConfigurationError(f"{step.title} does not fit the data", problems)
    return columns


def _column(name: str, role: str, kind: str, overwrite: Mapping[str, Any]) -> dict[str, Any]:
    default_filling, default_transform = DEFAULTS[kind]
    filling = None
    if "filling" in overwrite:
        filling = filling_of(overwrite["filling"])
    elif role == "feature":
        filling = filling_of(default_filling)
    chain = chain_of(overwrite.get("transform", default_transform))
    needs = {TRANSFORMS[chain[0]["method"]].needs}
    if filling is not None:
        needs.add(FILLINGS[filling["method"]].needs)
    return {
        "column": name,
        "role": role,
        "type": kind,
        "output": f"{name}_{'xf' if role == 'feature' else 'xl'}",
        "filling": filling,
        "chain": chain,
        "needs": sorted(need for need in needs if need),
    }


def _misfits(column: Mapping[str, Any]) -> list[Problem]:
    kind, path = column["type"], f"overwrite.{column['column']}"
    problems = []
    first = column["chain"][0]["method"]
    if kind not in TRANSFORMS[first].takes:
        remedy = "use compute_and_apply_vocabulary or hash_strings, alone or before it"
        problems.append(
            Problem(
                f"{path}.transform",
                f"'{first}' cannot be applied to '{column['column']}', which is of type {kind}",
                remedy if kind == "string" else None,
            )
        )
    filling = column["filling"]
    if filling is None:
        return problems
    if kind not in FILLINGS[filling["method"]].takes:
        message = f"a column of type {kind} has no {filling['method']}"
        problems.append(
            Problem(f"{path}.filling", message, "use {'method': 'custom', 'parameters': {…}}")
        )
    if filling["method"] == "custom":
        value = filling["parameters"]["custom_value"]
        expected = {
            "boolean": (bool,),
            "float": (int, float),
            "integer": (int,),
            "string": (str,),
        }[kind]
        if not isinstance(value, expected) or (isinstance(value, bool) and kind != "boolean"):
            problems.append(
                Problem(
                    f"{path}.filling.custom_value",
                    f"'{column['column']}' is of type {kind}, and {value!r} is not",
                )
            )
    return problems


def _close(name: str, valid: Sequence[str]) -> str:
    close = get_close_matches(name, valid, n=1)
    return f"did you mean '{close[0]}'?" if close else f"it has: {', '.join(valid[:20])}"


# -- learning --------------------------------------------------------------------------------------


def analyse_shard(payload: Mapping[str, Any], files: Files) -> list[Any]:
    """Unit: measure the training rows of one shard; returns the blob of a partial."""
    frame = read_rows(payload["shard"], files)
    partial = {
        column["column"]: _measure(frame[column["column"]], column["needs"])
        for column in payload["columns"]
    }
    return put(partial, files)


def _measure(series: pl.Series, needs: Sequence[str]) -> dict[str, Any]:
    partial: dict[str, Any] = {}
    if "counts" in needs:
        counts = Counts.of(series.cast(pl.String), VOCABULARY_LIMIT)
        partial |= {"counts": counts.encode(), "missing": series.null_count()}
    if "moments" in needs or "bins" in needs:
        numbers = numbers_of(series)
        partial["missing"] = numbers.missing
        if "moments" in needs:
            partial["moments"] = Moments.of(numbers.finite).encode()
        if "bins" in needs:
            partial["bins"] = Sketch.of(numbers.finite).encode()
    return partial


class _Measured:
    """What was measured of a column, while shards are added."""

    def __init__(self, needs: Sequence[str]) -> None:
        self.needs = needs
        self.missing = 0
        self.moments = Moments()
        self.sketch = Sketch()
        self.counts = Counts(VOCABULARY_LIMIT)

    def add(self, partial: Mapping[str, Any]) -> None:
        self.missing += partial["missing"]
        if "moments" in self.needs:
            self.moments = self.moments.plus(Moments.decode(partial["moments"]))
        if "bins" in self.needs:
            self.sketch.add(partial["bins"])
        if "counts" in self.needs:
            self.counts.add(partial["counts"])


def _fit(column: Mapping[str, Any], measured: _Measured | None) -> dict[str, Any]:
    """A column of the transform: everything that ``apply`` needs, as plain data."""
    value = _filling(column, measured)
    first, *others = column["chain"]
    steps = [_fit_first(column, first, measured, value)]
    steps += [{"method": step["method"], **step["parameters"]} for step in others]
    depths = [step["depth"] for step in steps if step["method"] == "one_hot_encode"]
    return {
        "column": column["column"],
        "role": column["role"],
        "type": column["type"],
        "output": column["output"],
        "output_type": f"float32[{depths[-1]}]" if depths else "float32",
        "filling": value,
        "steps": steps,
    }


def _filling(column: Mapping[str, Any], measured: _Measured | None) -> Any:
    filling = column["filling"]
    if filling is None:
        return None
    if filling["method"] == "custom":
        return filling["parameters"]["custom_value"]
    moments = measured.moments if measured else Moments()
    found = {"min": moments.minimum, "max": moments.maximum, "mean": moments.mean()}
    value = found[filling["method"]]
    if column["type"] == "boolean" and filling["method"] != "mean":
        return bool(value)
    return 0 if value is None else value


def _fit_first(
    column: Mapping[str, Any], step: Mapping[str, Any], measured: _Measured | None, fill: Any
) -> dict[str, Any]:
    """Settle a transform with what was measured, as if the missing values were filled already."""
    method, parameters = step["method"], step["parameters"]
    fitted: dict[str, Any] = {"method": method}
    if measured is None:
        return {**fitted, **parameters}
    filled = measured.missing if fill is not None else 0
    if method == "compute_and_apply_vocabulary":
        return {**fitted, "vocabulary": _vocabulary(column, measured, fill, filled)}
    if method == "bucketize":
        measured.sketch.add_value(_number(fill), filled)
        return {**fitted, "boundaries": _boundaries(measured.sketch, parameters["num_buckets"])}
    if method in ("scale_to_z_score", "scale_to_0_1", "scale_by_min_max"):
        moments = measured.moments.plus_value(_number(fill), filled)
        low = 0.0 if moments.minimum is None else float(moments.minimum)
        high = 0.0 if moments.maximum is None else float(moments.maximum)
        if method == "scale_to_z_score":
            mean, deviation = moments.mean() or 0.0, moments.deviation() or 0.0
            learnt = {"mean": mean, "deviation": deviation}
            return {**fitted, **learnt, **_affine(mean, 1.0, deviation, 0.0)}
        bottom, top = parameters.get("min", 0.0), parameters.get("max", 1.0)
        learnt = {"low": low, "high": high}
        # A constant column has no scale; it comes out at the lower end.
        return {**fitted, **learnt, **_affine(low, float(top - bottom), high - low, float(bottom))}
    return {**fitted, **parameters}


def _affine(shift: float, over: float, under: float, offset: float) -> dict[str, float]:
    """``(x - shift) * factor + offset``, with ``factor`` 0 where the column is constant."""
    factor = over / under if under else 0.0
    return {"shift": shift, "factor": factor if math.isfinite(factor) else 0.0, "offset": offset}


def _number(fill: Any) -> float:
    return 0.0 if fill is None else float(fill)


def _vocabulary(
    column: Mapping[str, Any], measured: _Measured, fill: Any, filled: int
) -> list[str]:
    if filled:
        text = fill if isinstance(fill, str) else str(fill).lower()
        measured.counts.add([[text, filled]])
    if measured.counts.values is None:
        raise DataError(
            f"'{column['column']}' has more than {VOCABULARY_LIMIT:,} different values, too many "
            "for a vocabulary",
            where="compute_and_apply_vocabulary",
            remedy=f"overwrite={{'{column['column']}': {{'transform': {{'method': 'hash_strings', "
            "'parameters': {'hash_buckets': 100000}}}}, or leave the column out",
        )
    return [value for value, _ in measured.counts.by_frequency()]


def _boundaries(sketch: Sketch, buckets: int) -> list[float]:
    """Quantiles between the buckets; equal ones are one boundary."""
    pairs = sketch.pairs()
    if not pairs or buckets < 2:
        return []
    found = quantiles(pairs, [bucket / buckets for bucket in range(1, buckets)])
    return sorted(set(found))


# -- applying --------------------------------------------------------------------------------------


def transform_shard(payload: Mapping[str, Any], files: Files) -> list[Any]:
    """Unit: transform one shard; returns the blob of the new columns."""
    transform = fetch(payload["transform"], files)
    blob = write_parquet(apply_transform(transform, read_rows(payload["shard"], files)), files)
    return [blob.digest, blob.size]
