"""Adding derived columns to a dataset: one further file for each shard."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from zenml.core import Blob, Files, StepContext, load, reference
from zenml.core.errors import DataError
from zenml.steps._tables import DTYPES, PATTERN, PATTERN_REMEDY, is_pattern, write_parquet
from zenml.steps.dataset import Dataset, read_rows

if TYPE_CHECKING:
    from zenml.steps.derive import DerivedColumns

__all__ = ["derive_columns"]


def derive_columns(step: DerivedColumns, examples: Dataset, context: StepContext) -> Dataset:
    """See ``DerivedColumns.run``."""
    reads = step.reads()
    columns = None if reads is None else list(reads)
    maker = {"step": reference(type(step)), "parameters": step.parameters()}
    results = context.map(
        derive_shard,
        [{**maker, "shard": examples.unit(shard, columns=columns)} for shard in examples.shards],
    )
    types = results[0]["types"] if results else {}
    for result in results:
        if result["types"] != types:
            raise DataError(
                f"derive() gave {types} for one shard and {result['types']} for another",
                where=step.title,
                remedy="cast the columns, so that their types do not depend on the rows",
            )
    # Named by the columns, so that a second derivation does not replace the first, and that what a
    # step is called in a pipeline is not part of its result.
    names = hashlib.sha256("\n".join(types).encode()).hexdigest()[:12]
    blobs = [Blob(*result["blob"]) for result in results]
    return examples.with_part(f"derived-{names}", types, blobs)


def derive_shard(payload: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """Unit: derive the columns of one shard."""
    step: DerivedColumns = load(payload["step"])(**payload["parameters"])
    frame = read_rows(payload["shard"], files)
    made: Any = step.derive(frame)
    if not isinstance(made, pl.DataFrame) or made.height != frame.height:
        found = f"{made.height} rows" if isinstance(made, pl.DataFrame) else type(made).__name__
        raise DataError(
            f"derive() was given {frame.height} rows and returned {found}",
            where=step.title,
            remedy="return a frame with a row for each row of the one that was given",
        )
    types = {name: _type_of(name, dtype, step.title) for name, dtype in made.schema.items()}
    made = made.cast({name: DTYPES[kind] for name, kind in types.items()})
    blob = write_parquet(made, files)
    return {"blob": [blob.digest, blob.size], "types": types}


def _type_of(name: str, dtype: pl.DataType, title: str) -> str:
    """The dataset's name for a Polars type."""
    if is_pattern(name):
        raise DataError(PATTERN.format(name), where=title, remedy=PATTERN_REMEDY)
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_integer():
        return "integer"
    if dtype.is_float():
        return "float"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "string"
    raise DataError(
        f"derive() made column '{name}' of type {dtype}",
        where=title,
        remedy="cast it to a boolean, an integer, a float or a string",
    )
