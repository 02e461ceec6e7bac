"""Statistics and schema of a snapshot."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import Any

import pytest

from zenml.datasources import CSVDatasource


def measured(bench: Any, path: str, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    outputs = bench.run(CSVDatasource(name="rows", path=path, **parameters))
    return {c["name"]: c for c in outputs["statistics"]["columns"]}, outputs


def test_a_column_of_numbers(bench: Any, table: str, rows: list[dict[str, Any]]) -> None:
    found = measured(bench, table)[0]["delay"]
    values = sorted(row["delay"] for row in rows if row["delay"] is not None)
    assert found["type"] == "float"
    assert (found["count"], found["nulls"]) == (len(values), 1_000 - len(values))
    assert (found["nans"], found["infinite"], found["zeros"]) == (0, 0, values.count(0.0))
    assert (found["min"], found["max"]) == (values[0], values[-1])
    assert found["mean"] == statistics.fmean(values)
    assert found["std"] == pytest.approx(statistics.pstdev(values), rel=1e-15)
    assert found["distinct"] == len(set(values))
    assert dict(found["quantiles"])[0.5] == statistics.median_low(values)
    assert sum(found["histogram"]["counts"]) == len(values)
    assert len(found["histogram"]["edges"]) == len(found["histogram"]["counts"]) + 1


def test_a_column_of_text(bench: Any, table: str, rows: list[dict[str, Any]]) -> None:
    found = measured(bench, table)[0]["carrier"]
    counts = Counter(row["carrier"] for row in rows if row["carrier"] is not None)
    assert found["top"] == [
        list(pair) for pair in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    assert found["length"] == {"min": 2, "max": 2, "mean": 2.0}


def test_a_column_of_booleans(bench: Any, table: str, rows: list[dict[str, Any]]) -> None:
    found = measured(bench, table)[0]["late"]
    late = sum(row["late"] for row in rows)
    assert found["mean"] == late / 1_000
    assert dict(map(tuple, found["top"])) == {True: late, False: 1_000 - late}


def test_too_many_values_are_estimated(
    bench: Any, table: str, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zenml.steps._statistics.DISTINCT_LIMIT", 10)
    found = measured(bench, table)[0]
    values = {row["distance"] for row in rows if row["distance"] is not None}
    # Few enough for the estimate to be exact.
    assert (found["distance"]["distinct"], found["distance"]["distinct_error"]) == (
        len(values),
        0.011,
    )
    assert found["distance"]["top"] == [[value, 1] for value in sorted(values)[:20]]
    assert found["distance"]["top_error"] == 0
    assert found["carrier"]["distinct"] == 5
    assert "distinct_error" not in found["carrier"]
    assert dict(found["distance"]["quantiles"])[0.5] == pytest.approx(500, rel=0.05)


def test_what_is_no_number_is_counted_apart(bench: Any, write: Any) -> None:
    path = write("rows.csv", "x,y\n1.5,1\nnan,1\ninf,1\n-inf,1\n,1\n2.5,1\n")
    found = measured(bench, path)[0]["x"]
    assert (found["count"], found["nulls"], found["nans"], found["infinite"]) == (5, 1, 1, 2)
    assert (found["min"], found["max"], found["mean"]) == (1.5, 2.5, 2.0)
    assert all(math.isfinite(edge) for edge in found["histogram"]["edges"])


def test_a_column_without_values(bench: Any, write: Any) -> None:
    found, outputs = measured(bench, write("rows.csv", "x,y\n,1\n,2\n"), schema={"x": "float"})
    assert (found["x"]["count"], found["x"]["mean"], found["x"]["min"]) == (0, None, None)
    assert outputs["schema"] == {
        "columns": [
            {"name": "x", "type": "float", "nullable": True},
            {"name": "y", "type": "integer", "nullable": False},
        ]
    }


def test_neither_sharding_nor_order_of_units_changes_them(bench: Any, table: str) -> None:
    expected = measured(bench, table)[1]["statistics"]
    assert expected["rows"] == 1_000
    for rows_per_shard in (1, 7, 999):
        found = measured(bench, table, rows_per_shard=rows_per_shard)[1]["statistics"]
        assert found == expected


def test_few_values_in_some_shards_and_many_in_others(
    bench: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts and bins are merged in every order, and always into the same."""
    monkeypatch.setattr("zenml.steps._statistics.DISTINCT_LIMIT", 50)
    few, many = [str(n % 5 - 2) for n in range(100)], [str(n - 50) for n in range(100)]
    found = []
    for name, parts in (("a", [few, many, few]), ("b", [many, few, few]), ("c", [few, few, many])):
        text = "x,y\n" + "".join(f"{value},1\n" for part in parts for value in part)
        column = measured(bench, write(f"{name}.csv", text), rows_per_shard=100)[0]["x"]
        assert column["distinct"] == 100
        assert column["top"][0] == [-2, 41]
        assert column["zeros"] == 41
        found.append(column)
    assert found[0] == found[1] == found[2]
    assert sum(found[0]["histogram"]["counts"]) == 300
