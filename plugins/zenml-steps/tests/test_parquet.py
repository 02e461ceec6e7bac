"""What a snapshot of Parquet files holds, and what is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.datasources import CSVDatasource, ParquetDatasource
from zenml.steps.formats import DatasetFormat

Put = Callable[[str, pl.DataFrame], str]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a frame as Parquet and return its path."""

    def put_file(name: str, frame: pl.DataFrame, **options: Any) -> str:
        path = tmp_path / "input" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path, **options)
        return str(path)

    return put_file


def read(bench: Any, path: str, **parameters: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    examples = bench.run(ParquetDatasource(name="rows", path=path, **parameters))["examples"]
    rows = [row for frame in examples.scan(bench.files) for row in frame.to_dicts()]
    assert len(rows) == examples.n_rows()
    return examples.schema, rows


def column(bench: Any, put: Put, series: pl.Series, **parameters: Any) -> tuple[str, list[Any]]:
    schema, rows = read(bench, put("a.parquet", series.alias("a").to_frame()), **parameters)
    return schema["a"], [row["a"] for row in rows]


def refusal(bench: Any, path: str, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        bench.run(ParquetDatasource(name="rows", path=path, **parameters))
    return caught.value


#: Without a time zone, as most files have it.
MOMENT = dt.datetime(2013, 1, 1, 5, 0, 0, 250_000)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("series", "kind", "read_as"),
    [
        (pl.Series([True, None]), "boolean", [True, None]),
        (pl.Series([-1, None], dtype=pl.Int8), "integer", [-1, None]),
        (pl.Series([2**63 - 1], dtype=pl.UInt64), "integer", [2**63 - 1]),
        (pl.Series([0.5, None], dtype=pl.Float32), "float", [0.5, None]),
        (pl.Series([float("inf"), -0.0]), "float", [float("inf"), -0.0]),
        (pl.Series(["", None, "ü"]), "string", ["", None, "ü"]),
        (pl.Series(["p", "q"], dtype=pl.Categorical), "string", ["p", "q"]),
        (pl.Series([None, None]), "string", [None, None]),
        (pl.Series([Decimal(7), None], dtype=pl.Decimal(18, 0)), "integer", [7, None]),
        (pl.Series([Decimal(10**20)], dtype=pl.Decimal(38, 0)), "string", ["1" + "0" * 20]),
        (pl.Series([Decimal("123456789012345.67")]), "float", [123456789012345.67]),
        (pl.Series([dt.date(2013, 1, 31)]), "string", ["2013-01-31"]),
        (pl.Series([dt.time(5, 0)]), "string", ["05:00:00"]),
        (pl.Series([MOMENT], dtype=pl.Datetime("ms")), "string", ["2013-01-01T05:00:00.250"]),
        (pl.Series([MOMENT], dtype=pl.Datetime("ns")), "string", ["2013-01-01T05:00:00.250"]),
        (
            pl.Series([MOMENT]).dt.replace_time_zone("America/New_York"),
            "string",
            ["2013-01-01T10:00:00.250Z"],
        ),
    ],
)
def test_types_are_mapped(
    bench: Any, put: Put, series: pl.Series, kind: str, read_as: list[Any]
) -> None:
    assert column(bench, put, series) == (kind, read_as)


def test_not_a_number_is_a_value(bench: Any, put: Put) -> None:
    kind, values = column(bench, put, pl.Series([float("nan"), None]))
    assert kind == "float"
    assert values[0] != values[0]
    assert values[1] is None


@pytest.mark.parametrize(
    ("series", "kind", "read_as"),
    [
        (pl.Series([1, 0, None]), "boolean", [True, False, None]),
        (pl.Series([True, None]), "integer", [1, None]),
        (pl.Series([2.0, None]), "integer", [2, None]),
        (pl.Series([2, None]), "float", [2.0, None]),
        (pl.Series([7, None]), "string", ["7", None]),
        (pl.Series([0.1, 1e300]), "string", ["0.1", "1e+300"]),
        (pl.Series([True]), "string", ["true"]),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), "string", [str(2**64 - 1)]),
        (pl.Series([Decimal("1.10")]), "string", ["1.10"]),
        (pl.Series([None, None]), "float", [None, None]),
    ],
)
def test_a_given_type_wins_where_nothing_is_lost(
    bench: Any, put: Put, series: pl.Series, kind: str, read_as: list[Any]
) -> None:
    assert column(bench, put, series, schema={"a": kind}) == (kind, read_as)


@pytest.mark.parametrize(
    ("series", "kind"),
    [
        (pl.Series([1, 2]), "boolean"),
        (pl.Series([1.0, 2.5]), "integer"),
        (pl.Series([1.0, float("nan")]), "integer"),
        (pl.Series([1.0, 1e30]), "integer"),
        (pl.Series([None, "5"]), "integer"),
        (pl.Series([None, "5"]), "float"),
        (pl.Series([1, 2**64 - 1], dtype=pl.UInt64), "integer"),
        (pl.Series([Decimal(1), Decimal(10**20)], dtype=pl.Decimal(38, 0)), "integer"),
    ],
)
def test_a_value_that_would_lose_something_is_refused(
    bench: Any, put: Put, series: pl.Series, kind: str
) -> None:
    path = put("a.parquet", series.alias("a").to_frame())
    error = refusal(bench, path, schema={"a": kind}, rows_per_shard=1)
    assert f"column 'a' is of type {kind}, and" in error.message
    assert error.where == f"{path}, row 2, column 'a'"
    assert "'string'" in str(error.remedy)


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([[1]]),
        pl.Series([{"b": 1}]),
        pl.Series([b"x"]),
        pl.Series([dt.timedelta(1)]),
        pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)),
    ],
    ids=["list", "structure", "bytes", "duration", "array"],
)
def test_columns_that_no_dataset_holds_are_named(bench: Any, put: Put, series: pl.Series) -> None:
    path = put("a.parquet", pl.DataFrame({"fine": [1], "näh": series}))
    error = refusal(bench, path)
    assert "column 'näh' is of type" in error.message
    assert error.where == path
    assert read(bench, path, columns=["fine"]) == ({"fine": "integer"}, [{"fine": 1}])


def test_columns_can_be_chosen(bench: Any, put: Put) -> None:
    path = put("a.parquet", pl.DataFrame({"a": [1], "b": ["x"], "c": [0.5]}))
    assert read(bench, path, columns=["c", "a"])[1] == [{"c": 0.5, "a": 1}]
    error = refusal(bench, path, columns=["a", "bb"])
    assert "columns names columns that the source does not have: 'bb'" in error.message
    assert error.remedy == "did you mean 'b' for 'bb'?"


def test_shards_are_as_long_as_was_asked_for_whatever_the_row_groups(bench: Any, put: Put) -> None:
    frame = pl.DataFrame({"a": range(1_000), "b": [f"{n}" for n in range(1_000)]})
    digests = set()
    for size in (7, 100, 5_000):
        path = put("a.parquet", frame, row_group_size=size)  # type: ignore[call-arg]
        examples = bench.run(ParquetDatasource(name="a", path=path, rows_per_shard=300))["examples"]
        assert [shard.rows for shard in examples.shards] == [300, 300, 300, 100]
        digests.add(bench.store(examples, DatasetFormat()).digest)
    assert len(digests) == 1


def test_a_snapshot_is_the_same_as_that_of_equal_csv(bench: Any, put: Put, table: str) -> None:
    from_csv = bench.run(CSVDatasource(name="a", path=table, rows_per_shard=300))
    path = put("a.parquet", pl.concat(from_csv["examples"].scan(bench.files)))
    from_parquet = bench.run(ParquetDatasource(name="a", path=path, rows_per_shard=300))
    assert from_parquet == from_csv


def test_files_are_read_in_order_and_from_stores(bench: Any, put: Put, tmp_path: Path) -> None:
    put("many/b.parquet", pl.DataFrame({"a": [2]}))
    put("many/a.parquet", pl.DataFrame({"a": [1]}, schema={"a": pl.Int16}))
    put("many/deeper/c.parquet", pl.DataFrame({"a": [3]}))
    (tmp_path / "input/many/notes.txt").write_text("none")
    folder = tmp_path / "input/many"
    for where, expected in (
        (str(folder), [1, 2]),
        (f"{folder}/**/*.parquet", [1, 2, 3]),
        (f"file://{folder}/*.parquet", [1, 2]),
    ):
        _, rows = read(bench, where)
        assert [row["a"] for row in rows] == expected, where


def test_a_file_in_a_store_gives_the_same_snapshot(
    bench: Any, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenml.datasources import _parquet_snapshot
    from zenml.datasources._source_files import SourceFile

    path = put("a.parquet", pl.DataFrame({"a": range(1_000)}))
    source = ParquetDatasource(name="a", path=path, rows_per_shard=300)
    local = bench.run(source)
    remote = SourceFile("input/a.parquet", f"file://{tmp_path}")
    monkeypatch.setattr(_parquet_snapshot, "find_files", lambda *_: [remote])
    assert bench.run(source) == local


def test_types_that_differ_between_files(bench: Any, put: Put, tmp_path: Path) -> None:
    put("many/a.parquet", pl.DataFrame({"a": [1], "b": [None]}))
    last = put("many/b.parquet", pl.DataFrame({"a": [0.5], "b": [3]}))
    folder = str(tmp_path / "input/many")
    assert read(bench, folder) == (
        {"a": "float", "b": "integer"},
        [{"a": 1.0, "b": None}, {"a": 0.5, "b": 3}],
    )
    put("many/b.parquet", pl.DataFrame({"a": ["x"], "b": [3]}))
    error = refusal(bench, folder)
    assert error.message == "column 'a' is of type string, and of type integer in other files"
    assert str(error.where).startswith(last)
    assert read(bench, folder, schema={"a": "string"})[1][0] == {"a": "1", "b": None}
    put("many/b.parquet", pl.DataFrame({"b": [3], "c": [1]}))
    assert "it lacks 'a' and it adds 'c'" in refusal(bench, folder).message
    put("many/b.parquet", pl.DataFrame({"b": [3], "a": [1]}))
    assert "their order differs" in refusal(bench, folder).message


def test_an_empty_file_among_others_adds_nothing(bench: Any, put: Put, tmp_path: Path) -> None:
    put("many/a.parquet", pl.DataFrame({"a": [1]}))
    put("many/b.parquet", pl.DataFrame({"a": [1]}).clear())
    assert len(read(bench, str(tmp_path / "input/many"))[1]) == 1


def test_what_is_no_table_is_refused(bench: Any, put: Put, write: Any, tmp_path: Path) -> None:
    assert "no rows" in refusal(bench, put("a.parquet", pl.DataFrame({"a": [1]}).clear())).message
    assert "there are no columns" in refusal(bench, put("a.parquet", pl.DataFrame())).message
    for content in (b"", b"PAR1", b"a,b\n1,2\n", b"PAR1" + b"\0" * 100 + b"PAR1"):
        error = refusal(bench, write("bad.parquet", content))
        assert "damaged or incomplete" in error.message
        assert str(error.where).endswith("bad.parquet")
    assert "not there" in refusal(bench, str(tmp_path / "none.parquet")).message
    folder = str(tmp_path / "input/empty")
    Path(folder).mkdir()
    assert "holds no PARQUET file" in refusal(bench, folder).message


def test_a_file_that_was_cut_off_is_refused(bench: Any, put: Put, write: Any) -> None:
    path = Path(put("a.parquet", pl.DataFrame({"a": range(100_000)})))
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\0" * 1_000 + data[1_100:])
    assert "damaged or incomplete" in refusal(bench, str(path)).message


def test_five_thousand_columns_make_small_shards(bench: Any, put: Put) -> None:
    path = put("wide.parquet", pl.DataFrame({f"c{n}": [n] * 1_700 for n in range(5_000)}))
    examples = bench.run(ParquetDatasource(name="wide", path=path))["examples"]
    assert [shard.rows for shard in examples.shards] == [1_677, 23]
    assert len(examples.schema) == 5_000


def test_the_fingerprint_follows_the_content(put: Put) -> None:
    one = ParquetDatasource(name="one", path=put("one.parquet", pl.DataFrame({"a": [1]})))
    same = ParquetDatasource(name="two", path=put("two.parquet", pl.DataFrame({"a": [1]})))
    other = ParquetDatasource(name="one", path=put("other.parquet", pl.DataFrame({"a": [2]})))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_parameters_are_checked_where_they_are_written() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ParquetDatasource(
            name="a", path="", schema={"a": "strig"}, columns=["a", "a"], rows_per_shard=0
        )
    said = {problem.path: problem for problem in caught.value.problems}
    assert set(said) == {"path", "schema.a", "columns", "rows_per_shard"}
    assert said["schema.a"].remedy == "did you mean 'string'?"
