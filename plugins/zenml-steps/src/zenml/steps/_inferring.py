"""Predicting a dataset: one further file for each shard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from zenml.core import Blob, Files, StepContext
from zenml.core.errors import ConfigurationError, DataError, Problem
from zenml.steps._applying import conform, invert
from zenml.steps._models import fetch_model, put_model
from zenml.steps._tables import dtype_of, write_parquet
from zenml.steps.dataset import Dataset, read_rows
from zenml.steps.model import Model

if TYPE_CHECKING:
    from zenml.steps.inferrer import Inferrer

__all__ = ["infer", "infer_shard"]

_PART: Final = "predictions"
_TYPES: Final[Mapping[type, str]] = {
    bool: "boolean",
    float: "float",
    int: "integer",
    str: "string",
}


def infer(step: Inferrer, model: Model, examples: Dataset, context: StepContext) -> Dataset:
    """See ``Inferrer.run``."""
    if not isinstance(model, Model):
        raise DataError(
            f"the input 'model' is no model but of type {type(model).__name__}",
            where=step.title,
            remedy="name the output of a trainer, such as 'trainer.model'",
        )
    if step.scores and model.task != "classification":
        raise DataError(
            f"'{model.label}' is predicted as a number, which has no classes to score",
            where=step.title,
            remedy="leave out scores=True",
        )
    _check_fit(model, examples)
    kept = examples.check_columns(list(examples.schema if step.columns is None else step.columns))
    types = _columns(model, scores=step.scores)
    taken = [name for name in types if name in kept]
    if taken:
        raise DataError(
            "the data has a column that the predictions would be called: "
            + ", ".join(f"'{name}'" for name in taken),
            where=step.title,
            remedy="name other columns to keep: columns=[…]",
        )
    copied = list(step.columns or ())
    reads = list(dict.fromkeys([*model.features, *copied]))
    common = {**put_model(model, context.files), "columns": copied, "scores": step.scores}
    results = context.map(
        infer_shard,
        [{**common, "shard": examples.unit(shard, columns=reads)} for shard in examples.shards],
        imports=model.imports,
    )
    blobs = [Blob(*result) for result in results]
    if step.columns is None:
        return examples.with_part(_free_part(examples), types, blobs)
    types = {**{name: examples.schema[name] for name in copied}, **types}
    return examples.with_part(_PART, types, blobs, keep=False)


def _check_fit(model: Model, examples: Dataset) -> None:
    """Raise ``ConfigurationError`` unless the dataset has what the model was trained on."""
    nothing = pl.DataFrame(schema={name: dtype_of(kind) for name, kind in examples.schema.items()})
    problems = []
    for column in model.transform["columns"]:
        name, kind = column["column"], column["type"]
        if column["role"] != "feature":
            continue
        try:
            conform({"columns": [column]}, nothing)
        except DataError as error:
            remedy = error.remedy
            if name in examples.schema:
                remedy = f"have the datasource read it so: schema={{'{name}': '{kind}'}}"
            problems.append(Problem("model", error.message, remedy))
    if problems:
        raise ConfigurationError("the model does not fit the data", problems)


def _columns(model: Model, *, scores: bool) -> dict[str, str]:
    """Name to type of what is predicted."""
    # Not the label's type: a label whose transform cannot be taken back is predicted as a number.
    values = (
        model.classes
        if model.task == "classification"
        else invert(model.label_column, np.zeros(1), exact=False)
    )
    kind = next(_TYPES[type(value)] for value in values if value is not None)
    columns = {f"{model.label}_prediction": kind}
    if scores:
        columns |= {f"{model.label}_score_{_text(value)}": "float" for value in values}
    return columns


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _free_part(examples: Dataset) -> str:
    """A name for the new part: there are others if another model has predicted already."""
    parts = {column.part for column in examples.columns}
    others = sum(part.startswith(_PART) for part in parts)
    return f"{_PART}-{others + 1}" if others else _PART


def infer_shard(payload: Mapping[str, Any], files: Files) -> list[Any]:
    """Unit: predict one shard's rows; returns the blob of the new columns."""
    model = fetch_model(payload, files)
    frame = read_rows(payload["shard"], files)
    rows = frame.select(model.features)
    try:
        if payload["scores"]:
            scores = model.predict_proba(rows)
            values = [model.values_of(scores), *scores.T]
        else:
            values = [model.predict(rows)]
    except DataError as error:
        begins = f"counted from row {payload['shard']['first_row'] + 1} of the data"
        error.where = f"{error.where}, {begins}" if error.where else begins
        raise
    columns = _columns(model, scores=payload["scores"])
    predicted = [
        pl.Series(name, found, dtype=dtype_of(kind))
        for (name, kind), found in zip(columns.items(), values, strict=True)
    ]
    kept = (frame[name] for name in payload["columns"])
    blob = write_parquet(pl.DataFrame([*kept, *predicted]), files)
    return [blob.digest, blob.size]
