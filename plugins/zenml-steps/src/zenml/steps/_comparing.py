"""Comparing statistics: plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from zenml.core.errors import DataError
from zenml.steps._bars import Bars
from zenml.steps._describing import infer_schema

if TYPE_CHECKING:
    from zenml.steps.anomalies import Anomalies

__all__ = ["compare", "largest_difference"]

_Column = Mapping[str, Any]

#: New values that a message shows.
_SHOWN: Final = 5


def compare(
    step: Anomalies, statistics: Mapping[str, Any], baseline: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """See ``Anomalies.compare``."""
    for given in (statistics, baseline):
        if "columns" not in given:
            raise DataError(
                "these are not the statistics of some rows",
                where=f"{step.title}: {', '.join(given)}",
                remedy="take those of one split: statistics['splits']['eval']",
            )
    if not baseline["rows"]:
        raise DataError(
            "there is nothing to compare with: the baseline has no rows", where=step.title
        )
    if not statistics["rows"]:
        return [_anomaly(None, "no_rows", "there are no rows")]
    found = {column["name"]: column for column in statistics["columns"]}
    anomalies: list[dict[str, Any]] = []
    schema = infer_schema(baseline)["columns"]
    for column, normal in zip(baseline["columns"], schema, strict=True):
        name = column["name"]
        if name not in found:
            anomalies.append(_anomaly(name, "missing_column", "the column is not there any more"))
        else:
            anomalies += _compare(step, found.pop(name), column, normal, statistics["rows"])
    anomalies += [_anomaly(name, "new_column", "the column was not there") for name in found]
    return anomalies


def _anomaly(column: str | None, kind: str, message: str, **details: Any) -> dict[str, Any]:
    return {"column": column, "kind": kind, "message": message, **details}


def _compare(
    step: Anomalies, found: _Column, baseline: _Column, normal: _Column, rows: int
) -> Iterator[dict[str, Any]]:
    """The anomalies of one column; ``normal`` is its part of the baseline's schema."""
    name, kind = found["name"], normal["type"]
    if found["type"] != kind:
        said = f"expected {kind}, found {found['type']}"
        yield _anomaly(name, "type", said, expected=kind, found=found["type"])
        return
    presence = found["count"] / rows
    enough = min(rows, baseline["count"] + baseline["nulls"]) >= step.min_count
    lost = normal["presence"] - presence
    if (found["nulls"] and not normal["nullable"]) or (enough and lost > step.presence_loss):
        said = f"{presence:.1%} of the rows have a value, and {normal['presence']:.1%} had one"
        yield _anomaly(name, "missing_values", said, expected=normal["presence"], found=presence)
    strange = found.get("nans", 0) + found.get("infinite", 0)
    if strange and not baseline["nans"] + baseline["infinite"]:
        said = f"{strange} values are NaN or infinite, and none was"
        yield _anomaly(name, "not_finite", said, expected=0, found=strange)
    if not (found["count"] and baseline["count"]):
        return  # there are no values to be compared
    yield from _compare_values(step, found, normal)
    yield from _compare_distributions(step, found, baseline)


def _compare_values(step: Anomalies, found: _Column, normal: _Column) -> Iterator[dict[str, Any]]:
    """Values that were not there, and numbers that are out of range."""
    name = found["name"]
    if "domain" in normal:
        new = [[value, count] for value, count in found["top"] if value not in normal["domain"]]
        # Of many values the statistics list some, and these may all be known.
        if new or found["distinct"] > len(normal["domain"]):
            shown = ", ".join(repr(value) for value, _ in new[:_SHOWN]) or "none of the frequent"
            more = " and others" if len(new) > _SHOWN else ""
            yield _anomaly(name, "new_values", f"values are new: {shown}{more}", values=new)
    if "min" in normal and found.get("min") is not None:
        expected, actual = [normal["min"], normal["max"]], [found["min"], found["max"]]
        # Halves, so that the width of a range of floats is a float.
        width = expected[1] / 2 - expected[0] / 2
        below, above = expected[0] / 2 - actual[0] / 2, actual[1] / 2 - expected[1] / 2
        if max(below, above) > step.range_excess * width:
            said = f"from {actual[0]} to {actual[1]}, and was from {expected[0]} to {expected[1]}"
            yield _anomaly(name, "range", said, expected=expected, found=actual)


def _compare_distributions(
    step: Anomalies, found: _Column, baseline: _Column
) -> Iterator[dict[str, Any]]:
    if "top" not in found:
        return
    if found["type"] in ("boolean", "string"):
        counts = found["count"], baseline["count"]
        limit, measure = step.category_distance, largest_difference
    elif "histogram" in found and "histogram" in baseline:
        counts = sum(found["histogram"]["counts"]), sum(baseline["histogram"]["counts"])
        limit, measure = step.number_distance, _divergence
    else:
        return
    if min(counts) < step.min_count:
        return
    distance = measure(found, baseline)
    if distance > limit:
        said = f"the distance of the distributions is {distance:.3g}, above {limit:.3g}"
        yield _anomaly(found["name"], "distribution", said, distance=distance, limit=limit)


def _divergence(one: _Column, other: _Column) -> float:
    return Bars.decode(one["histogram"]).divergence(Bars.decode(other["histogram"]))


def largest_difference(one: _Column, other: _Column) -> float:
    """The largest difference between the shares of one value: the least that the lists allow."""
    ours, theirs = _Shares(one), _Shares(other)
    gaps = [0.0]
    for value in ours.counts.keys() | theirs.counts.keys():
        (low, high), (least, most) = ours.of(value), theirs.of(value)
        gaps += [low - most, least - high]
    return round(max(gaps), 6)


class _Shares:
    """Between what bounds the shares of values are."""

    def __init__(self, column: _Column) -> None:
        self.total: int = column["count"]
        self.counts: dict[Any, int] = dict(column["top"])
        self.error: int = column.get("top_error", 0)
        complete = not self.error and len(self.counts) == column["distinct"]
        #: What is not listed is not more frequent than what is.
        self.unlisted: int = 0 if complete else min(self.counts.values(), default=0) + self.error

    def of(self, value: Any) -> tuple[float, float]:
        if value not in self.counts:
            return 0.0, self.unlisted / self.total
        count = self.counts[value]
        return count / self.total, (count + self.error) / self.total
