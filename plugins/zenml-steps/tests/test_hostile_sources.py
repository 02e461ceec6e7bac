"""Hostile rows through every kind of file: the same snapshot, or one clear error with its place."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zenml.core.errors import ConfigurationError, DataError
from zenml.datasources import (
    CSVDatasource,
    FrameDatasource,
    JSONLinesDatasource,
    ParquetDatasource,
)
from zenml.datasources._values import first_misfit, series_of
from zenml.steps._deriving import _type_of
from zenml.steps.formats import DatasetFormat
from zenml.steps.preprocesser import StandardPreprocesser, apply
from zenml.steps.sequencer import StandardSequencer
from zenml.steps.split import CategoricalDomainSplit, CategoricalRatioSplit, NoSplit

Write = Callable[[str, "str | bytes"], str]

DTYPES = {"boolean": pl.Boolean, "integer": pl.Int64, "float": pl.Float64, "string": pl.String}
NULL = "\\N"
#: What no text of a file can hold, or what stands for something else there.
TEXTS = st.text(max_size=12).filter(lambda text: text != NULL)
VALUES = {
    "boolean": st.booleans(),
    "integer": st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, 0]),
    ),
    "float": st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([-0.0, 5e-324, 2.0**-1022, 1.7976931348623157e308, 0.1, 1e22, 1e23]),
    ),
    "string": st.one_of(
        TEXTS,
        st.sampled_from(
            ["", " ", "\0", "NA", "null", "true", "1", '"', '""', ",", "\n", "\r\n", "\r"]
        ),
        st.sampled_from(
            ["\ufeff", "\u2028", "\x1a", "é", "e\u0301", "#", "=1+1", "a\0b", "\U0010ffff"]
        ),
    ),
}
NAMES = st.one_of(
    st.sampled_from(["x", "split", "value", "count", "row", "x_xf", "len", "literal", " ", "'"]),
    st.sampled_from(
        ["é", "e\u0301", "\u202e", "\U0010ffff", 'a"b', "a,b", "a\nb", "^a", "a$", "**"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=4),
).filter(lambda name: name != "*" and not (name.startswith("^") and name.endswith("$")))


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, str], list[list[Any]]]:
    """Column to type, and rows."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    kinds = [draw(st.sampled_from(list(VALUES))) for _ in names]
    row = st.tuples(*(st.one_of(st.none(), VALUES[kind], VALUES[kind]) for kind in kinds))
    rows = draw(st.lists(row.map(list), min_size=1, max_size=12))
    return dict(zip(names, kinds, strict=True)), rows * draw(st.sampled_from([1, 1, 1, 3]))


def csv_text(schema: dict[str, str], rows: Sequence[Sequence[Any]]) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    def field(value: Any) -> str:
        if value is None:
            return NULL
        if isinstance(value, str):
            return quoted(value)
        return str(value).lower() if isinstance(value, bool) else repr(value)

    lines = [",".join(map(quoted, schema)), *(",".join(map(field, row)) for row in rows)]
    return "\n".join(lines) + "\n"


def json_text(schema: dict[str, str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [json.dumps(dict(zip(schema, row, strict=True))) for row in rows]
    return "\n".join(lines) + "\n"


@given(tables(), st.integers(1, 5))
@example(({"x": "string"}, [["\r\n"], ["\r"], [""], [None]]), 2)
@example(({"a\nb": "integer", "b": "float"}, [[2**63 - 1, -0.0], [None, 5e-324]]), 1)
@example(({"x": "string", "y": "boolean"}, [["\0", True], ["a\0b", None]]), 1)
def test_equal_rows_are_one_snapshot_whatever_they_are_read_from(
    fresh: Callable[[], Any], table: tuple[dict[str, str], list[list[Any]]], size: int
) -> None:
    schema, rows = table
    frame = pl.DataFrame(
        [
            pl.Series(name, [row[place] for row in rows], dtype=DTYPES[kind])
            for place, (name, kind) in enumerate(schema.items())
        ]
    )
    bench = fresh()
    folder = Path(tempfile.mkdtemp(dir=bench.files.scratch))
    (folder / "rows.csv").write_bytes(csv_text(schema, rows).encode())
    (folder / "rows.jsonl").write_bytes(json_text(schema, rows).encode())
    frame.write_parquet(folder / "rows.parquet")
    common: dict[str, Any] = {"name": "rows", "schema": schema, "rows_per_shard": size}
    sources = [
        CSVDatasource(path=str(folder / "rows.csv"), null_values=[NULL], **common),
        JSONLinesDatasource(path=str(folder / "rows.jsonl"), **common),
        ParquetDatasource(path=str(folder / "rows.parquet"), **common),
        FrameDatasource(frame=frame, **common),
    ]
    snapshots = [bench.run(source) for source in sources]

    examples = snapshots[0]["examples"]
    assert examples.schema == schema
    # By their spelling, which tells zeros apart.
    assert repr(pl.concat(list(examples.scan(bench.files))).rows()) == repr(list(map(tuple, rows)))
    assert len({bench.store(found["examples"], DatasetFormat()).digest for found in snapshots}) == 1
    for found in snapshots[1:]:
        assert repr(found["statistics"]) == repr(snapshots[0]["statistics"])
        assert found["schema"] == snapshots[0]["schema"]


# -- what text says --------------------------------------------------------------------------------

#: Spelling to what it alone would be.
SPELLINGS: dict[str, tuple[str, Any]] = {
    **{text: ("boolean", text.lower() == "true") for text in ("true", "True", "TRUE", "false")},
    **{text: ("integer", int(text)) for text in ("0", "-0", "+1", "1", "007", "9007199254740993")},
    **{text: ("integer", int(text)) for text in ("9223372036854775807", "-9223372036854775808")},
    **{text: ("long", text) for text in ("9223372036854775808", "-9223372036854775809", "9" * 400)},
    **{
        text: ("float", float(text))
        for text in ("-0.0", "1.5", "1.", ".5", "1e5", "1E-5", "5e-324")
    },
    **{text: ("float", float(text)) for text in ("nan", "NaN", "inf", "-inf", "Infinity", "1e400")},
    **{text: ("string", text) for text in ("yes", "t", "0x10", "1_000", "1 ", "٣", "½", "--1")},
    **{
        text: ("string", text)
        for text in ("1e", ".", "-", "null", "None", "1850-01-01", "1,5", "#")
    },
}
JOINS = {
    frozenset({"integer", "long"}): "long",
    frozenset({"integer", "float"}): "float",
    frozenset({"long", "float"}): "float",
}


@given(st.lists(st.one_of(st.none(), st.sampled_from(list(SPELLINGS))), min_size=1, max_size=8))
@example(["9" * 400, "1.5"])
@example(["9223372036854775808", "1"])
@example([None, None])
def test_a_csv_column_has_the_narrowest_type_of_all_its_spellings(
    fresh: Callable[[], Any], texts: list[str | None]
) -> None:
    bench = fresh()
    path = bench.files.scratch / "rows.csv"
    fields = ['"' + (text or "") + '"' for text in texts]
    path.write_text("x,y\n" + "".join(f"{field},1\n" for field in fields), encoding="utf-8")
    examples = bench.run(CSVDatasource(name="rows", path=str(path), rows_per_shard=3))["examples"]

    kinds = [SPELLINGS[text][0] for text in texts if text is not None]
    needed = kinds[0] if kinds else "string"
    for kind in kinds[1:]:
        if kind != needed:
            needed = JOINS.get(frozenset({kind, needed}), "string")
    kind = "string" if needed == "long" else needed
    assert examples.schema["x"] == kind
    spelled = {
        "boolean": lambda text: SPELLINGS[text][1],
        "integer": int,
        "float": float,
        "string": str,
    }[kind]
    expected = [None if text is None else spelled(text) for text in texts]
    found = pl.concat(list(examples.scan(bench.files)))["x"].to_list()
    assert repr(found) == repr(expected)


def test_a_zero_byte_in_a_value_is_a_character_wherever_it_stands(bench: Any, write: Write) -> None:
    for lines in (0, 3_000):
        text = "x,y\n" + "abc,1\n" * lines + "a\0b,2\n"
        examples = bench.run(CSVDatasource(name="rows", path=write("zero.csv", text)))["examples"]
        last = list(examples.scan(bench.files))[-1]
        assert last.rows()[-1] == ("a\0b", 2)


def test_empty_text_is_a_value_where_it_is_not_said_to_be_missing(bench: Any, write: Write) -> None:
    text = 'x,y\n"",1\n,2\nNA,3\n"NA",4\n'
    for nulls, expected in (
        (["NA"], ["", "", None, None]),
        ([], ["", "", "NA", "NA"]),
        (["", "NA"], [None, None, None, None]),
    ):
        source = CSVDatasource(name="rows", path=write("empty.csv", text), null_values=nulls)
        examples = bench.run(source)["examples"]
        assert next(iter(examples.scan(bench.files)))["x"].to_list() == expected
        assert next(iter(examples.scan(bench.files)))["y"].to_list() == [1, 2, 3, 4]


def test_a_long_text_is_kept_whole(bench: Any, write: Write) -> None:
    long = "é" * 3_000_000
    path = write("long.csv", f"x,y\n{long},1\n{long}!,2\n")
    outputs = bench.run(CSVDatasource(name="rows", path=path))
    column = outputs["statistics"]["columns"][0]
    assert column["length"] == {"min": 3_000_000, "max": 3_000_001, "mean": 3_000_000.5}
    assert column["top"] == [[long, 1], [long + "!", 1]]


# -- errors ----------------------------------------------------------------------------------------

PATTERNS = ["*", "^x$", "^.*$", "^$"]


@pytest.mark.parametrize("name", PATTERNS)
def test_a_name_that_would_stand_for_other_columns_is_refused(
    name: str, bench: Any, write: Write, tmp_path: Path
) -> None:
    frame = pl.DataFrame({"x": [1, 2], name: [3, 4]})
    frame.write_parquet(tmp_path / "rows.parquet")
    rows = "".join(json.dumps(row) + "\n" for row in [{"x": 0}, *frame.to_dicts()])
    sources: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: CSVDatasource(name="rows", path=write("a.csv", f"x,{name}\n1,2\n")),
            "a.csv, line 1",
        ),
        (lambda: JSONLinesDatasource(name="rows", path=write("a.jsonl", rows)), "a.jsonl, line 2"),
        (
            lambda: ParquetDatasource(name="rows", path=str(tmp_path / "rows.parquet")),
            "rows.parquet",
        ),
        (lambda: FrameDatasource(name="rows", frame=frame), "the frame"),
    ]
    for make, where in sources:
        with pytest.raises(DataError, match="no column can be called") as caught:
            bench.run(make())
        assert (caught.value.where or "").endswith(where)
        assert f"'{name}'" in caught.value.message
        assert (caught.value.remedy or "").startswith("give it another name")


@pytest.mark.parametrize("name", PATTERNS)
def test_a_derived_column_cannot_stand_for_others_either(name: str) -> None:
    with pytest.raises(DataError, match="no column can be called") as caught:
        _type_of(name, pl.Int64(), "Derived")
    assert caught.value.where == "Derived"


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([-(2**31), 0], dtype=pl.Int32).cast(pl.Date),
        pl.Series([2_932_897], dtype=pl.Int32).cast(pl.Date),
        pl.Series([None, -(2**63)], dtype=pl.Int64).cast(pl.Datetime("us")),
        pl.Series([2**62], dtype=pl.Int64).cast(pl.Datetime("ms")),
        pl.Series([2**62], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
    ],
)
def test_a_time_that_no_calendar_has_is_refused_with_its_row(
    values: pl.Series, bench: Any, tmp_path: Path
) -> None:
    frame = pl.DataFrame({"when": values, "y": [1] * len(values)})
    frame.write_parquet(tmp_path / "times.parquet")
    row = "row 2" if values.null_count() else "row 1"
    for make in (
        lambda: FrameDatasource(name="times", frame=frame),
        lambda: ParquetDatasource(name="times", path=str(tmp_path / "times.parquet")),
    ):
        with pytest.raises(DataError, match="outside of the years 1 to 9999") as caught:
            bench.run(make())
        assert f"{row}, column 'when'" in (caught.value.where or "")


@given(st.lists(st.one_of(st.none(), st.dates(), st.dates(max_value=dt.date(1899, 12, 31)))))
@example([dt.date.min, dt.date.max, dt.date(1900, 1, 1), dt.date(1582, 10, 10)])
def test_dates_are_written_as_python_writes_them(
    fresh: Callable[[], Any], dates: list[dt.date | None]
) -> None:
    dates = [*dates, dt.date(1899, 12, 31)]
    times = [None if day is None else dt.datetime.combine(day, dt.time(5, 30)) for day in dates]
    frame = pl.DataFrame(
        {"day": dates, "time": times}, schema={"day": pl.Date, "time": pl.Datetime}
    )
    bench = fresh()
    examples = bench.run(FrameDatasource(name="days", frame=frame))["examples"]
    found = pl.concat(list(examples.scan(bench.files)))
    assert found["day"].to_list() == [day and day.isoformat() for day in dates]
    assert found["time"].to_list() == [time and time.isoformat() for time in times]


def test_a_time_that_utc_has_no_year_for_is_a_misfit() -> None:
    west = dt.timezone(dt.timedelta(hours=-5))
    times = [dt.datetime(2013, 1, 1, 20, tzinfo=west), dt.datetime(9999, 12, 31, 20, tzinfo=west)]
    assert series_of("t", times[:1], "string").to_list() == ["2013-01-02T01:00:00Z"]
    assert first_misfit(times, "string") == 1


HALF = "\ud800"
MISTAKES: dict[str, Callable[[], Any]] = {
    "category": lambda: CategoricalDomainSplit(
        categorical_column="s", split_map={"train": ["a"], "eval": [HALF]}
    ),
    "categories": lambda: CategoricalRatioSplit(
        categorical_column="s",
        categories=["a", HALF],
        split_ratio={"train": 0.5, "eval": 0.5},
    ),
    **{
        f"{name} {value!a}"[:40]: lambda name=name, parameter=parameter, value=value: (  # type: ignore[misc]
            StandardPreprocesser(
                overwrite={
                    "f": {
                        "filling" if name == "custom" else "transform": {
                            "method": name,
                            "parameters": {parameter: value},
                        }
                    }
                }
            )
        )
        for name, parameter, value in [
            ("custom", "custom_value", math.nan),
            ("custom", "custom_value", math.inf),
            ("custom", "custom_value", 10**400),
            ("custom", "custom_value", HALF),
            ("scale_by_min_max", "max", math.inf),
            ("scale_by_min_max", "min", math.nan),
            ("scale_by_min_max", "max", 1e39),
            ("bucketize", "num_buckets", 2**24 + 1),
            ("one_hot_encode", "depth", 10**12),
            ("hash_strings", "hash_buckets", 10**40),
        ]
    },
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_parameters_that_no_column_can_hold_are_refused_where_they_are_written(
    mistake: Callable[[], Any],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mistake()
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("column", "transform", "filling", "said"),
    [
        ("i", "compute_and_apply_vocabulary", "mean", "'mean' gives a number with decimals"),
        ("b", "compute_and_apply_vocabulary", "mean", "takes values of type boolean"),
        (
            "i",
            {"method": "hash_strings", "parameters": {"hash_buckets": 3}},
            {"method": "custom", "parameters": {"custom_value": 2**63}},
            "more than 64 bits",
        ),
    ],
)
def test_a_filling_that_is_no_value_of_the_column_is_refused(
    column: str, transform: Any, filling: Any, said: str, bench: Any
) -> None:
    frame = pl.DataFrame({"i": [1, None, 2], "b": [True, None, False]})
    examples = bench.run(FrameDatasource(name="rows", frame=frame))["examples"]
    step = StandardPreprocesser(
        overwrite={column: {"transform": transform, "filling": filling}},
        split_mapping={"train_splits": ["nosplit"]},
    )
    with pytest.raises(ConfigurationError, match=said):
        bench.run(step, examples=bench.run(NoSplit(), examples=examples))


class Several:
    """As an array of several values behaves."""

    size = 2

    def item(self) -> Any:
        raise ValueError("can only convert an array of size 1")


SERVED: dict[str, tuple[dict[Any, Any], str]] = {
    "an integer of more than 64 bits": ({"i": 2**63}, "row 1"),
    "a whole float of more than 64 bits": ({"i": 1e19}, "row 1"),
    "an integer with hundreds of digits": ({"i": 10**400}, "row 1"),
    "a number that no float is": ({"f": 10**400}, "row 1"),
    "an infinite integer": ({"i": math.inf}, "row 1"),
    "half of a surrogate pair": ({"s": HALF}, "row 1"),
    "bytes": ({"s": b"a"}, "row 1"),
    "several values": ({"f": Several()}, "row 1"),
    "a boolean for an integer": ({"i": True}, "row 1"),
    "an integer for a boolean": ({"b": 1}, "row 1"),
    "text for a number": ({"f": "1.5"}, "row 1"),
}


@pytest.fixture(scope="module")
def transform(fresh: Callable[[], Any]) -> Any:
    bench = fresh()
    frame = pl.DataFrame(
        {
            "i": [1, 2, None],
            "f": [1.5, None, math.nan],
            "s": ["a", None, ""],
            "b": [True, None, False],
        }
    )
    examples = bench.run(FrameDatasource(name="rows", frame=frame))["examples"]
    step = StandardPreprocesser(split_mapping={"train_splits": ["nosplit"]})
    return bench.run(step, examples=bench.run(NoSplit(), examples=examples))["transform"]


def served(transform: Any, rows: Any) -> pl.DataFrame:
    from zenml.steps._applying import frame_of_rows

    return apply(transform, frame_of_rows(transform, rows))


@pytest.mark.parametrize("case", SERVED.values(), ids=SERVED)
def test_a_row_that_cannot_be_served_is_one_clear_error(
    case: tuple[dict[Any, Any], str], transform: Any
) -> None:
    wrong, where = case
    with pytest.raises(DataError) as caught:
        served(transform, [{"i": 1, "f": 1.0, "s": "a", "b": True, **wrong}])
    assert caught.value.where == where
    assert caught.value.remedy


@given(
    st.dictionaries(
        st.sampled_from(["i", "f", "s", "b"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
        | st.sampled_from([HALF, 10**400, 2**64, [], {}, (), object(), Several()]),
    ),
    st.dictionaries(st.sampled_from([5, None, HALF, "*", "^.*$", "", "split"]), st.integers()),
)
def test_whatever_a_row_holds_it_is_served_or_refused(
    transform: Any, wrong: dict[str, Any], others: dict[Any, int]
) -> None:
    row = {**others, "i": 1, "f": 1.0, "s": "a", "b": True, **wrong}
    try:
        result = served(transform, [row, row])
    except DataError:
        return
    assert result.height == 2
    assert not any(math.isnan(value) for value in itertools.chain(*result.rows()))


def test_sequences_do_not_take_the_names_of_other_columns(bench: Any) -> None:
    frame = pl.DataFrame({"t": [0, 60, 120], "x": [1.0, 2.0, 3.0], "x_0": [7.0, 8.0, 9.0]})
    examples = bench.run(FrameDatasource(name="rows", frame=frame))["examples"]
    split = bench.run(NoSplit(), examples=examples)
    step = StandardSequencer(
        timestamp_column="t", resampling_freq="1min", sequence_length=2, gap_threshold=600
    )
    sequences = bench.run(step, examples=split)
    found = pl.concat(list(sequences.scan(bench.files)))
    assert len(set(found.columns)) == len(found.columns)
    assert found["x_0"].to_list() == [1.0, 2.0]
    assert found["x_0_0"].to_list() == [7.0, 8.0]
