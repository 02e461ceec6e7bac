"""Evaluating a model: predictions shard by shard, metrics from all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.core import Blob, Files, StepContext
from zenml.core.errors import DataError
from zenml.steps._applying import apply_transform, conform
from zenml.steps._exact import mean, sum_of, sum_of_squares
from zenml.steps._measures import numbers_of
from zenml.steps._models import fetch_model, put_model
from zenml.steps._splits import splits_for
from zenml.steps._tables import read_parquet, write_parquet
from zenml.steps.dataset import Dataset, read_rows

if TYPE_CHECKING:
    from zenml.steps.evaluator import Evaluator
    from zenml.steps.model import Model

__all__ = ["area_under_curve", "evaluate", "predict_shard"]


#: Types of columns whose values make slices.
_SLICED: Final = ("boolean", "float", "integer", "string", "float32")


def evaluate(
    step: Evaluator, model: Model, examples: Dataset, context: StepContext
) -> dict[str, Any]:
    """See ``Evaluator.run``."""
    splits = _splits(step, examples)
    slices = [[item] if isinstance(item, str) else list(item) for item in step.slices]
    sliced = list(dict.fromkeys(name for item in slices for name in item))
    examples.check_columns([*model.features, model.label, *sliced])
    unfit = [name for name in sliced if examples.schema[name] not in _SLICED]
    if unfit:
        raise DataError(
            f"column '{unfit[0]}' is of type {examples.schema[unfit[0]]}, and makes no slices",
            where=f"slices of {step.title}",
            remedy="name a column of strings, integers, floats or booleans",
        )
    metrics = _metrics(step, model)
    columns = list(dict.fromkeys([*model.features, model.label, *sliced]))
    positions = [examples.splits.index(split) for split in splits]
    common = {**put_model(model, context.files), "slices": sliced}
    results = context.map(
        predict_shard,
        [
            {**common, "shard": examples.unit(shard, columns=columns, splits=splits)}
            for shard in examples.shards
            if any(shard.split_rows[position] for position in positions)
        ],
        imports=model.imports,
    )
    frames = [read_parquet(Blob(*result["predictions"]), context.files) for result in results]
    frames = [frame for frame in frames if frame.height]
    if not frames:
        raise DataError(
            f"no row of {', '.join(splits)} has a label, so there is nothing to evaluate",
            where=f"label '{model.label}'",
            remedy="give that split more rows",
        )
    whole = pl.concat(frames).rechunk()
    unlabelled = sum(result["unlabelled"] for result in results)
    return {
        "task": model.task,
        "label": model.label,
        "splits": splits,
        "classes": model.classes if model.task == "classification" else None,
        "overall": {"unlabelled": unlabelled, **_measure(whole, metrics)},
        "slices": [
            {"by": by, **_measure(part, metrics)}
            for item in slices
            for by, part in _parts(whole, item, sliced)
        ],
    }


def _splits(step: Evaluator, examples: Dataset) -> list[str]:
    if step.split is not None:
        return [examples.check_split(step.split)]
    if (step.split_mapping and "test_splits" in step.split_mapping) or "test" in examples.splits:
        return splits_for("test", examples, step.split_mapping)
    return splits_for("eval", examples, step.split_mapping)


# -- predicting ------------------------------------------------------------------------------------


def predict_shard(payload: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """Unit: predict one shard's rows; returns the blob of a frame.

    Its columns: ``truth`` and ``prediction`` (class numbers, or values in the label's unit),
    ``score`` of the second of two classes, and the slice columns by number.
    """
    model = fetch_model(payload, files)
    frame = read_rows(payload["shard"], files)
    label = frame[model.label]
    missing = label.is_null()
    if label.dtype.is_float():
        missing |= label.is_nan().fill_null(value=False)
    rows = frame.filter(~missing)
    columns = {str(place): rows[name] for place, name in enumerate(payload["slices"])}
    predicted = pl.DataFrame({**columns, **_predictions(model, rows)})
    blob = write_parquet(predicted, files)
    return {"predictions": [blob.digest, blob.size], "unlabelled": int(missing.sum())}


def _predictions(model: Model, rows: pl.DataFrame) -> dict[str, Any]:
    if model.task == "regression":
        label = conform(model.transform, rows)[model.label].cast(pl.Float64)
        if label.is_infinite().any():
            raise DataError(
                f"the label '{model.label}' is infinite in some rows",
                remedy="leave these rows out before the split, or mend them at their source",
            )
        return {"truth": label, "prediction": np.array(model.predict(rows), dtype=np.float64)}
    scores = model.predict_proba(rows)
    values = np.array(model.class_values)
    label = apply_transform(model.transform, rows)[model.label_column["output"]]
    truth = label.to_numpy().astype(np.float64)
    places = np.minimum(np.searchsorted(values, truth), len(values) - 1)
    # A label that training never saw is wrong whatever is predicted.
    known = values[places] == truth
    result = {
        "truth": np.where(known, places, -1).astype(np.int64),
        "prediction": scores.argmax(axis=1).astype(np.int64),
    }
    if len(values) == 2:
        result["score"] = scores[:, 1]
    return result


# -- measuring -------------------------------------------------------------------------------------

_Metric = Callable[[pl.DataFrame], "float | None"]


def _parts(
    whole: pl.DataFrame, item: Sequence[str], sliced: Sequence[str]
) -> list[tuple[dict[str, Any], pl.DataFrame]]:
    """The rows of each combination of values, in the order of the values; nulls come last."""
    keys = [str(sliced.index(name)) for name in item]
    parts = whole.partition_by(keys, as_dict=True, maintain_order=True)
    ordered = sorted(parts.items(), key=lambda part: [(value is None, value) for value in part[0]])
    return [(dict(zip(item, values, strict=True)), part) for values, part in ordered]


def _measure(frame: pl.DataFrame, metrics: Mapping[str, _Metric]) -> dict[str, Any]:
    return {"count": frame.height, **{name: metric(frame) for name, metric in metrics.items()}}


def _metrics(step: Evaluator, model: Model) -> dict[str, _Metric]:
    if model.task == "regression":
        known, default = _REGRESSION, ["rmse", "mae"]
    elif len(model.class_values) == 2:
        known, default = {**_CLASSES, **_TWO_CLASSES}, ["accuracy", "auc"]
    else:
        known, default = _CLASSES, ["accuracy"]
    names = default if step.metrics is None else step.metrics
    for name in names:
        if name not in known:
            kind = "numbers" if model.task == "regression" else f"{len(model.class_values)} classes"
            raise DataError(
                f"there is no '{name}' for {kind}",
                where=f"metrics of {step.title}; label '{model.label}'",
                remedy=f"use {', '.join(known)}",
            )
    return {name: known[name] for name in names}


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _accuracy(frame: pl.DataFrame) -> float | None:
    return _ratio(int((frame["truth"] == frame["prediction"]).sum()), frame.height)


def _confusion(frame: pl.DataFrame) -> tuple[int, int, int]:
    """True positives, false positives, false negatives."""
    truth, said = frame["truth"] == 1, frame["prediction"] == 1
    return int((truth & said).sum()), int((~truth & said).sum()), int((truth & ~said).sum())


def _precision(frame: pl.DataFrame) -> float | None:
    hits, wrong, _ = _confusion(frame)
    return _ratio(hits, hits + wrong)


def _recall(frame: pl.DataFrame) -> float | None:
    hits, _, missed = _confusion(frame)
    return _ratio(hits, hits + missed)


def _f1(frame: pl.DataFrame) -> float | None:
    hits, wrong, missed = _confusion(frame)
    return _ratio(2 * hits, 2 * hits + wrong + missed)


def _auc(frame: pl.DataFrame) -> float | None:
    known = frame.filter(frame["truth"] >= 0)
    return area_under_curve(known["truth"].to_numpy() == 1, known["score"].to_numpy())


def area_under_curve(
    positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]
) -> float | None:
    """The probability that a positive row has a higher score than a negative one; ties count half.

    Counted exactly by ranks (Mann and Whitney's U), rounded once. None without both kinds of rows.
    """
    _, groups = np.unique(scores, return_inverse=True)
    size = int(groups.max(initial=-1)) + 1
    positives = np.bincount(groups[positive], minlength=size)
    negatives = np.bincount(groups[~positive], minlength=size)
    pairs = int(positives.sum()) * int(negatives.sum())
    if not pairs:
        return None
    below = np.cumsum(negatives) - negatives
    twice = int((positives * (2 * below + negatives)).sum())
    return float(Fraction(twice, 2 * pairs))


def _errors(frame: pl.DataFrame) -> npt.NDArray[np.float64]:
    truth, prediction = frame["truth"].to_numpy(), frame["prediction"].to_numpy()
    return np.asarray(numbers_of(pl.Series(truth - prediction)).finite)


def _rmse(frame: pl.DataFrame) -> float | None:
    errors = _errors(frame)
    return math.sqrt(mean(sum_of_squares(errors), len(errors))) if len(errors) else None


def _mae(frame: pl.DataFrame) -> float | None:
    errors = _errors(frame)
    return mean(sum_of(np.abs(errors)), len(errors)) if len(errors) else None


def _r2(frame: pl.DataFrame) -> float | None:
    errors = _errors(frame)
    truth = np.asarray(numbers_of(frame["truth"]).finite)
    if not len(truth) or len(errors) != len(truth):
        return None
    total = sum_of(truth).fraction()
    spread = sum_of_squares(truth).fraction() - total * total / len(truth)
    return float(1 - sum_of_squares(errors).fraction() / spread) if spread else None


_CLASSES: dict[str, _Metric] = {"accuracy": _accuracy}
_TWO_CLASSES: dict[str, _Metric] = {
    "auc": _auc,
    "f1": _f1,
    "precision": _precision,
    "recall": _recall,
}
_REGRESSION: dict[str, _Metric] = {"mae": _mae, "r2": _r2, "rmse": _rmse}
