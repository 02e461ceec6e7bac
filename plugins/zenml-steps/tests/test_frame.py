"""What becomes of a data frame that a client holds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.datasources import FrameDatasource, PandasDatasource, ParquetDatasource

FRAME = pl.DataFrame(
    {
        "integer": [1, None, 3],
        "float": [0.5, None, float("nan")],
        "text": ["", None, "ü"],
        "when": pl.Series(["2013-01-01", None, "2013-01-02"]).str.to_date(),
        "nothing": [None, None, None],
    }
)


def rows_of(bench: Any, source: FrameDatasource) -> list[dict[str, Any]]:
    examples = bench.run(source)["examples"]
    return [row for frame in examples.scan(bench.files) for row in frame.to_dicts()]


def remade(source: FrameDatasource) -> FrameDatasource:
    """The step as a plan has it."""
    return FrameDatasource(**source.parameters())


def test_a_polars_frame_becomes_a_snapshot(bench: Any) -> None:
    source = FrameDatasource(name="rows", frame=FRAME, rows_per_shard=2)
    outputs = bench.run(remade(source))
    assert outputs["examples"].schema == {
        "integer": "integer",
        "float": "float",
        "text": "string",
        "when": "string",
        "nothing": "string",
    }
    assert [shard.rows for shard in outputs["examples"].shards] == [2, 1]
    rows = rows_of(bench, source)
    assert rows[0]["when"] == "2013-01-01"
    assert [row["text"] for row in rows] == ["", None, "ü"]
    assert [row["float"] for row in rows[:2]] == [0.5, None]
    assert outputs["statistics"]["columns"][1]["nans"] == 1


def test_it_is_the_snapshot_that_a_file_of_the_same_rows_gives(bench: Any, tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "a.parquet")
    file = ParquetDatasource(name="a", path=str(tmp_path / "a.parquet"), rows_per_shard=2)
    assert bench.run(FrameDatasource(name="b", frame=FRAME, rows_per_shard=2)) == bench.run(file)


def test_a_pandas_frame_s_nan_is_missing_and_its_index_no_column(bench: Any) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "a": [0.5, None],
            "b": ["x", None],
            "c": pandas.array([1, None], dtype="Int64"),
            "d": pandas.to_datetime(["2013-01-01 05:00", None]),
        },
        index=[7, 9],
    )
    assert rows_of(bench, PandasDatasource(name="rows", frame=frame)) == [
        {"a": 0.5, "b": "x", "c": 1, "d": "2013-01-01T05:00:00"},
        {"a": None, "b": None, "c": None, "d": None},
    ]


def test_a_plan_holds_no_rows(bench: Any) -> None:
    frame = pl.DataFrame({"a": ["a secret text"] * 10_000})
    parameters = FrameDatasource(name="rows", frame=frame, rows_per_shard=100).parameters()
    assert len(str(parameters)) < 300
    assert parameters["frame"].startswith("sha256:")


def test_equal_frames_are_equal_datasources() -> None:
    pieces = pl.concat([FRAME.slice(0, 1), FRAME.slice(1, 2)], rechunk=False)
    one = FrameDatasource(name="rows", frame=FRAME)
    assert one == FrameDatasource(name="rows", frame=pieces) == copy.deepcopy(one) == remade(one)
    assert one != FrameDatasource(name="rows", frame=FRAME.reverse())
    assert one.replace(name="other").frame == one.frame


def test_what_becomes_of_the_frame_later_makes_no_difference(bench: Any) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2]})
    source = FrameDatasource(name="rows", frame=frame)
    frame.loc[0, "a"] = 9
    assert rows_of(bench, source) == [{"a": 1}, {"a": 2}]


def test_rows_that_are_nowhere_are_found_missing(bench: Any) -> None:
    from zenml.core.errors import ObjectNotFoundError

    class NoFiles:
        def fetch(self, blob: Any) -> Path:
            raise ObjectNotFoundError("there is no such object", where=blob.key)

    source = FrameDatasource(name="rows", frame=f"sha256:{'1' * 64}:9")
    bench.files = NoFiles()
    with pytest.raises(DataError, match="not in the artifact store") as caught:
        bench.run(source)
    assert "commit_id=source.commit()" in str(caught.value.remedy)


def test_the_temporary_folder_goes_with_the_datasource() -> None:
    import gc

    source = FrameDatasource(name="rows", frame=FRAME)
    folder = source._held.scratch  # type: ignore[union-attr]
    again = remade(source)
    del source
    gc.collect()
    assert folder.is_dir()
    del again
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.clear(), "no rows"),
        (pl.DataFrame(), "there are no columns"),
        (pl.DataFrame({"a": [1], "": [2]}), "the 2nd column has no name"),
        (pl.DataFrame({"a": [[1]]}), "column 'a' is of type List"),
        (FRAME.lazy(), "found polars.LazyFrame"),
        (FRAME["integer"], "found polars.Series"),
        ([{"a": 1}], "found builtins.list"),
        (pl.DataFrame({"b": [1]}), "the schema names columns that the source does not have"),
        (pl.DataFrame({"a": ["x"]}), "column 'a' is of type float, and 'x' is not"),
    ],
)
def test_frames_that_are_no_tables_are_refused_at_once(frame: Any, message: str) -> None:
    schema = None if not isinstance(frame, pl.DataFrame) or not frame.height else {"a": "float"}
    if message.startswith(("the 2nd", "column 'a' is of type L")):
        schema = None
    with pytest.raises(DataError) as caught:
        FrameDatasource(name="rows", frame=frame, schema=schema)
    assert message in caught.value.message


def test_pandas_frames_with_two_columns_of_one_name_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DataError, match="several columns of one name"):
        FrameDatasource(name="rows", frame=frame)


def test_parameters_are_checked_before_the_frame_is_looked_at() -> None:
    with pytest.raises(ConfigurationError) as caught:
        FrameDatasource(name="rows", frame=FRAME, schema={"a": "strig"}, rows_per_shard=0)
    assert {found.path for found in caught.value.problems} == {"schema.a", "rows_per_shard"}
    with pytest.raises(ConfigurationError, match="expected a Polars or pandas frame, found text"):
        FrameDatasource(name="rows", frame="rows.csv")
    with pytest.raises(ConfigurationError, match="frame"):
        FrameDatasource(name="rows")
