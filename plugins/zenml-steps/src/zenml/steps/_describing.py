"""Describing splits: one partial for each shard and split, merged in the order of the shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zenml.core import Blob, Files, StepContext
from zenml.core.errors import DataError

if TYPE_CHECKING:
    from zenml.steps.dataset import Dataset
    from zenml.steps.statistics import SplitStatistics

__all__ = ["describe_splits", "domain_of", "infer_schema", "measure_splits", "split_of"]


def describe_splits(
    step: SplitStatistics, examples: Dataset, context: StepContext
) -> dict[str, Any]:
    """See ``SplitStatistics.run``."""
    from zenml.steps._statistics import merge
    from zenml.steps.dataset import SPLIT_PART

    if not examples.splits:
        raise DataError(
            "the dataset has no splits",
            where=step.title,
            remedy="add a split step before this one; NoSplit() makes one split of all rows",
        )
    columns = list(examples.schema) if step.columns is None else step.columns
    payloads = []
    for shard in examples.shards:
        unit = examples.unit(shard, columns=columns)
        blob = shard.files[SPLIT_PART]
        splits = len(examples.splits)
        payloads.append({"shard": unit, "split": [blob.digest, blob.size], "splits": splits})
    measured = context.map(measure_splits, payloads)
    schema = {name: examples.schema[name] for name in columns}
    return {
        "splits": {
            name: merge((Blob(*blobs[place]) for blobs in measured), schema, context.files)
            for place, name in enumerate(examples.splits)
        }
    }


def measure_splits(payload: Mapping[str, Any], files: Files) -> list[list[Any]]:
    """Unit: measure one shard's rows, those of each split apart."""
    from zenml.steps._statistics import measure
    from zenml.steps._tables import read_parquet
    from zenml.steps.dataset import read_rows

    frame = read_rows(payload["shard"], files, dictionaries=True)
    codes = read_parquet(Blob(*payload["split"]), files)["split"]
    blobs = [measure(frame.filter(codes == place), files) for place in range(payload["splits"])]
    return [[blob.digest, blob.size] for blob in blobs]


def split_of(statistics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The statistics of one split. Raises ``DataError`` if there is none of that name."""
    splits: Mapping[str, Any] = statistics.get("splits", {})
    if not splits:
        raise DataError(
            "these statistics are not those of splits",
            remedy="add SplitStatistics() after the split, and before this step",
        )
    if name not in splits:
        raise DataError(
            f"there are no statistics of a split '{name}'",
            where=f"splits: {', '.join(map(repr, splits))}",
            remedy="name one of these",
        )
    found: Mapping[str, Any] = splits[name]
    return found


def domain_of(column: Mapping[str, Any]) -> list[Any] | None:
    """All values of a column of booleans or of few strings, sorted; None for other columns."""
    if column["type"] not in ("boolean", "string") or len(column["top"]) != column["distinct"]:
        return None
    return sorted(value for value, _ in column["top"])


def infer_schema(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """What columns are like, by the statistics of some rows. See ``SplitSchema.run``."""
    rows = statistics["rows"]
    columns: Sequence[Mapping[str, Any]] = statistics["columns"]
    inferred = []
    for column in columns:
        known: dict[str, Any] = {
            "name": column["name"],
            "type": column["type"],
            "nullable": column["nulls"] > 0,
            "presence": column["count"] / rows if rows else None,
        }
        if "top" in column and (domain := domain_of(column)) is not None:
            known["domain"] = domain
        if column.get("min") is not None:
            known |= {"min": column["min"], "max": column["max"]}
        inferred.append(known)
    return {"columns": inferred}
