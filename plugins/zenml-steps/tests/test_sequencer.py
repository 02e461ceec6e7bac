"""How time series become sequences."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zenml.core.errors import ConfigurationError, DataError
from zenml.datasources import CSVDatasource
from zenml.local import ProcessingLocalBackend
from zenml.pipelines import TrainingPipeline
from zenml.repo import Repository
from zenml.steps._sequencing import _mean, _median, _mode
from zenml.steps._tables import write_parquet
from zenml.steps.dataset import Column, Dataset, Shard
from zenml.steps.formats import DatasetFormat
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.sequencer import StandardSequencer
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer

DAY = 86_400


def method(name: str, **parameters: Any) -> dict[str, Any]:
    return {"method": name, "parameters": parameters}


@pytest.fixture
def sequences(bench: Any, write: Any, examples_of: Any) -> Callable[..., list[dict[str, Any]]]:
    """The sequences of a CSV text, as rows."""

    def make(text: str, rows_per_shard: int = 3, **parameters: Any) -> list[dict[str, Any]]:
        step = StandardSequencer(**{"timestamp_column": "at", **parameters})
        examples = examples_of(bench, write("series.csv", text), rows_per_shard)
        dataset = bench.run(step, examples=examples)
        return pl.concat(dataset.scan(bench.files)).to_dicts()

    return make


HOURS = "at,x\n0,1\n3600,2\n7200,3\n10800,4\n14400,5\n"


def test_a_row_is_a_sequence_from_the_oldest_step_to_the_latest(sequences: Any) -> None:
    assert sequences(HOURS, resampling_freq="1h", sequence_length=3, sequence_shift=2) == [
        {"at": 0, "x_0": 1.0, "x_1": 2.0, "x_2": 3.0},
        {"at": 7200, "x_0": 3.0, "x_1": 4.0, "x_2": 5.0},
    ]


def test_a_session_ends_where_no_row_follows_for_the_threshold(sequences: Any) -> None:
    text = "at,x\n0,1\n3600,2\n10800,3\n14400,4\n"
    hours = {"resampling_freq": "1h", "sequence_length": 2}
    apart = sequences(text, gap_threshold=7200, **hours)
    assert [(row["x_0"], row["x_1"]) for row in apart] == [(1.0, 2.0), (3.0, 4.0)]
    one = sequences(text, gap_threshold=7201, **hours)
    assert [row["at"] for row in one] == [0, 3600, 7200, 10800]


def test_steps_are_counted_from_midnight(sequences: Any) -> None:
    """As pandas counts them: a step of five hours begins at 0, 5, 10, 15 and 20 o'clock."""
    text = f"at,x\n{DAY + 4 * 3600},1\n{DAY + 6 * 3600},2\n{DAY + 9 * 3600},4\n"
    assert sequences(text, resampling_freq="5h", sequence_length=2) == [
        {"at": DAY, "x_0": 1.0, "x_1": 3.0}
    ]
    before_1970 = sequences("at,x\n-3600,1\n3600,2\n", sequence_length=2)
    assert before_1970 == [{"at": -DAY, "x_0": 1.0, "x_1": 2.0}]


def test_fractions_of_seconds_are_times_too(sequences: Any) -> None:
    text = "at,x\n0.25,1\n0.5,2\n1.0,3\n"
    found = sequences(text, resampling_freq="250ms", sequence_length=4)
    assert found == [{"at": 0.25, "x_0": 1.0, "x_1": 2.0, "x_2": 3.0, "x_3": 3.0}]


def test_each_category_is_a_series_and_a_missing_one_too(sequences: Any) -> None:
    text = "at,who,x\n" + "".join(
        f"{hour * 3600},{who},{value}\n"
        for hour in range(2)
        for who, value in (("b", 10 + hour), ("a", 20 + hour), ("NA", 30 + hour))
    )
    found = sequences(text, resampling_freq="1h", sequence_length=2, category_column="who")
    assert {row["who"]: (row["x_0"], row["x_1"]) for row in found} == {
        "a": (20.0, 21.0),
        "b": (10.0, 11.0),
        None: (30.0, 31.0),
    }
    assert list(found[0]) == ["who", "at", "x_0", "x_1"]


@pytest.mark.parametrize(
    ("resampling", "expected"),
    [
        ("mean", 2.875),
        ("median", 2.0),
        ("mode", 1.5),
        (method("threshold", cond="greater", c_value=2, threshold=0.4, set_value=9), 9.0),
        (method("threshold", cond="greater", c_value=2, threshold=0.5, set_value=9), None),
        (method("threshold", cond="less_or_equal", c_value=1.5, threshold=0.4, set_value=9), 9.0),
        (method("threshold", cond="includes", c_value=6, threshold=0, set_value="yes"), "yes"),
        (method("threshold", cond="equal", c_value=7, threshold=0, set_value="yes"), None),
    ],
)
def test_resamplings(sequences: Any, resampling: Any, expected: Any) -> None:
    text = "at,x\n0,2.5\n60,1.5\n120,nan\n180,6\n240,1.5\n300,NA\n"
    found = sequences(
        text,
        resampling_freq="1h",
        sequence_length=1,
        overwrite={"x": {"resampling": resampling, "filling": "forward"}},
    )
    assert found[0]["x_0"] == expected


@pytest.mark.parametrize(
    ("filling", "expected"),
    [
        ("forward", [None, 4.0, 4.0, 1.0, 1.0]),
        ("backwards", [4.0, 4.0, 1.0, 1.0, None]),
        ("min", [1.0, 4.0, 1.0, 1.0, 1.0]),
        ("max", [4.0, 4.0, 4.0, 1.0, 4.0]),
        ("mean", [2.5, 4.0, 2.5, 1.0, 2.5]),
        (method("custom", custom_value=-1), [-1.0, 4.0, -1.0, 1.0, -1.0]),
    ],
)
def test_fillings(sequences: Any, filling: Any, expected: list[Any]) -> None:
    text = "at,x,y\n0,NA,1\n3600,4,1\n10800,1,1\n14400,NA,1\n"
    (found,) = sequences(
        text,
        resampling_freq="1h",
        sequence_length=5,
        overwrite={"x": {"filling": filling}},
    )
    assert [found[f"x_{place}"] for place in range(5)] == expected


def test_defaults_follow_the_types(bench: Any, write: Any, examples_of: Any) -> None:
    text = "at,flag,n,x,s\n0,true,1,1.5,b\n1,true,2,2.5,a\n2,false,4,NA,b\n7200,NA,NA,NA,NA\n"
    step = StandardSequencer(timestamp_column="at", resampling_freq="1h", sequence_length=2)
    dataset = bench.run(step, examples=examples_of(bench, write("types.csv", text)))
    assert dataset.schema == {
        "at": "integer",
        **{f"flag_{place}": "boolean" for place in range(2)},
        **{f"n_{place}": "float" for place in range(2)},
        **{f"x_{place}": "float" for place in range(2)},
        **{f"s_{place}": "string" for place in range(2)},
    }
    assert pl.concat(dataset.scan(bench.files)).rows()[0] == (
        *(0, True, True, 7 / 3, 7 / 3, 2.0, 2.0, "b", ""),
    )


def test_a_sequence_is_of_one_split(bench: Any, write: Any, examples_of: Any) -> None:
    text = "at,x\n" + "".join(f"{row * 60},{row}\n" for row in range(200))
    split = RandomSplit(split_map={"train": 0.5, "eval": 0.5 - 1e-9, "none": 1e-9})
    examples = bench.run(split, examples=examples_of(bench, write("rows.csv", text), 30))
    step = StandardSequencer(timestamp_column="at", resampling_freq="1min", sequence_length=2)
    dataset = bench.run(step, examples=examples)
    assert dataset.splits == ("eval", "none", "train")
    assert dataset.n_rows("none") == 0
    assert dataset.n_rows("eval") + dataset.n_rows("train") == dataset.n_rows()
    for name in ("eval", "train"):
        rows = set(pl.concat(examples.scan(bench.files, split=name))["x"].to_list())
        found = pl.concat(dataset.scan(bench.files, split=name))
        steps = [(x, at) for x, at in found.select("x_0", "at").rows() if at // 60 in rows]
        assert all(x == at // 60 for x, at in steps)
        assert found.height == max(rows) - min(rows)


# -- against the plainest way ----------------------------------------------------------------------

LENGTH, SHIFT, GAP, STEP = 3, 2, 7200, 3600


def plain(rows: list[tuple[int, str | None, float | None]]) -> list[tuple[Any, ...]]:
    """Sequences of ``(at, who, x)``: mean, filled forward."""
    made = []
    for who in {row[1] for row in rows}:
        ours = sorted(((at, x) for at, name, x in rows if name == who), key=lambda row: row[0])
        sessions: list[list[Any]] = []
        for row in ours:
            if not sessions or row[0] - sessions[-1][-1][0] >= GAP:
                sessions.append([])
            sessions[-1].append(row)
        for session in sessions:
            first, last = session[0][0] // STEP, session[-1][0] // STEP
            values: list[float | None] = []
            for step in range(first, last + 1):
                present = [
                    x
                    for at, x in session
                    if at // STEP == step and x is not None and not math.isnan(x)
                ]
                finite = [x for x in present if not math.isinf(x)]
                if not present:
                    values.append(values[-1] if values else None)
                elif len(finite) == len(present):
                    values.append(float(sum(map(Fraction, present)) / len(present)))
                else:
                    total = sum(x for x in present if math.isinf(x))
                    previous = values[-1] if values else None
                    values.append(previous if math.isnan(total) else total)
            made += [
                (who, (first + start) * STEP, *values[start : start + LENGTH])
                for start in range(0, len(values) - LENGTH + 1, SHIFT)
            ]
    return sorted(made, key=repr)


rows_of_series = st.lists(
    st.tuples(
        st.integers(0, 12).map(lambda quarter: quarter * 3000),
        st.sampled_from(["a", "b", "c", None]),
        st.none()
        | st.sampled_from([math.nan, math.inf, -math.inf])
        | st.integers(-8, 8).map(float),
    ),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows_of_series, st.integers(1, 9))
def test_sequences_are_those_of_the_plainest_way(
    bench: Any, rows: list[tuple[int, str | None, float | None]], rows_per_shard: int
) -> None:
    frame = pl.DataFrame(
        rows, schema={"at": pl.Int64, "who": pl.String, "x": pl.Float64}, orient="row"
    )
    shards = []
    for start in range(0, len(rows), rows_per_shard):
        part = frame[start : start + rows_per_shard]
        blob = write_parquet(part, bench.files)
        shards.append(Shard(start, part.height, {"raw": blob}))
    types = {"at": "integer", "who": "string", "x": "float"}
    columns = tuple(Column(name, kind, "raw") for name, kind in types.items())
    step = StandardSequencer(
        timestamp_column="at",
        category_column="who",
        overwrite={"x": {"filling": "forward"}},
        resampling_freq="1h",
        gap_threshold=GAP,
        sequence_length=LENGTH,
        sequence_shift=SHIFT,
    )
    expected = plain(rows)
    examples = Dataset(columns, tuple(shards))
    if not expected:
        with pytest.raises(DataError, match="there is no sequence"):
            bench.run(step, examples=examples)
        return
    found = pl.concat(bench.run(step, examples=examples).scan(bench.files)).rows()
    assert sorted(found, key=repr) == expected


@pytest.mark.parametrize(
    ("values", "median", "mode"),
    [([3, 1, 2, 2], 2.0, 2), ([4, 1], 2.5, 1), ([True, False], 0.5, False), ([0.5], 0.5, 0.5)],
)
def test_ties_have_an_answer(values: list[Any], median: float, mode: Any) -> None:
    assert _median(values) == median == statistics.median(values)
    assert _mode(values) == mode
    assert Counter(values)[mode] == max(Counter(values).values())


def test_sums_beyond_the_largest_float_have_a_mean() -> None:
    assert _mean([1.5e308, 1.5e308]) == 1.5e308
    assert _mean([math.inf, -math.inf]) is None


# -- the same anywhere -----------------------------------------------------------------------------


@pytest.fixture
def series(write: Any) -> str:
    """Thirty series with gaps, in the order of time, hence spread over all shards."""
    lines = ["at,who,x,flag,kind"]
    for row in range(3_000):
        mixed = row * 2654435761 % 2**32
        x = ("NA", "nan")[mixed % 2] if mixed % 101 < 4 else repr(mixed % 1009 / 7)
        at = row * 600 + (50_000 if row > 1_500 else 0)
        flag = str(mixed % 5 < 2).lower()
        lines.append(f"{at},w{mixed % 30},{x},{flag},{'abc'[mixed % 7 % 3]}")
    return str(write("many.csv", "\n".join(lines) + "\n"))


STEP_OF_SERIES = StandardSequencer(
    timestamp_column="at",
    category_column="who",
    overwrite={"x": {"resampling": "median", "filling": "mean"}, "kind": {"filling": "forward"}},
    resampling_freq="6h",
    gap_threshold=50_000,
    sequence_length=3,
)

#: Content, whatever made it.
GOLDEN = "93b737482fdf38876af738a0f23b22e62577315b5900a67ab975b7cddf64f538"


def test_sharding_does_not_change_the_sequences(
    bench: Any, another_bench: Any, series: str, examples_of: Any
) -> None:
    digests = set()
    for workbench, rows_per_shard in ((bench, 5_000), (another_bench, 217)):
        dataset = workbench.run(
            STEP_OF_SERIES, examples=examples_of(workbench, series, rows_per_shard)
        )
        digests.add(workbench.store(dataset, DatasetFormat()).digest)
    assert len(digests) == 1


def test_the_sequences_are_what_they_always_were(bench: Any, series: str, examples_of: Any) -> None:
    dataset = bench.run(STEP_OF_SERIES, examples=examples_of(bench, series))
    content = repr([frame.rows() for frame in dataset.scan(bench.files)])
    assert hashlib.sha256(content.encode()).hexdigest() == GOLDEN


def test_a_pipeline_learns_from_sequences_on_any_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, series: str
) -> None:
    found = set()
    for place, (mode, workers) in enumerate([("threads", 1), ("threads", 4), ("processes", 2)]):
        folder = tmp_path / f"repository-{place}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        Repository.init_repo()
        backend = ProcessingLocalBackend(mode=mode, workers=workers)
        pipeline = TrainingPipeline(name="series", backends=[backend])
        pipeline.add_datasource(CSVDatasource(name="series", path=series, rows_per_shard=500))
        pipeline.add_split(RandomSplit(split_map={"train": 0.7, "eval": 0.3}))
        pipeline.add_sequencer(STEP_OF_SERIES)
        pipeline.add_preprocesser(
            StandardPreprocesser(
                features=["who", "x_0", "x_1", "kind_1"],
                labels=["x_2"],
                overwrite={
                    "who": {"transform": method("tfidf", vocab_size=30)},
                    "kind_1": {
                        "transform": [
                            "compute_and_apply_vocabulary",
                            method("one_hot_encode", depth=4),
                            method("pca", output_dim=2),
                        ]
                    },
                },
            )
        )
        pipeline.add_trainer(
            SKLearnTrainer(
                estimator="sklearn.ensemble:HistGradientBoostingRegressor",
                hyperparameters={"max_iter": 3},
            )
        )
        run = pipeline.run()
        assert run.status == "succeeded"
        model = run.load("trainer.model")
        row = {"who": "w1", "x_0": 3.0, "x_1": None, "kind_1": "a"}
        found.add((repr(model.predict([row])), repr(run.load("preprocesser.transform"))))
    assert len(found) == 1


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "path", "message"),
    [
        ({"resampling_freq": "1X"}, "resampling_freq", "unit of fixed length, found '1X'"),
        ({"resampling_freq": "1M"}, "resampling_freq", "unit of fixed length"),
        ({"resampling_freq": "0h"}, "resampling_freq", "unit of fixed length"),
        ({"resampling_freq": ""}, "resampling_freq", "unit of fixed length"),
        ({"gap_threshold": 0}, "gap_threshold", "expected at least 1, found 0"),
        ({"sequence_length": 0}, "sequence_length", "expected at least 1, found 0"),
        ({"sequence_shift": -1}, "sequence_shift", "expected at least 1, found -1"),
        ({"category_column": "at"}, "category_column", "'at' holds the timestamps"),
        ({"overwrite": {"at": {}}}, "overwrite.at", "is neither resampled nor filled"),
        ({"overwrite": {"x": "mean"}}, "overwrite.x", "expected {'resampling'"),
        ({"overwrite": {"x": {"resample": "mean"}}}, "overwrite.x.resample", "no such key"),
        ({"overwrite": {"x": {"resampling": "avg"}}}, "overwrite.x.resampling", "no such"),
        (
            {"overwrite": {"x": {"filling": ["min", "max"]}}},
            "overwrite.x.filling",
            "expected one, found 2",
        ),
        (
            {"overwrite": {"x": {"resampling": method("threshold", cond="greater")}}},
            "overwrite.x.resampling.c_value",
            "requires it",
        ),
        (
            {
                "overwrite": {
                    "x": {
                        "resampling": method(
                            "threshold", cond="grater", c_value=1, threshold=2, set_value=1
                        )
                    }
                }
            },
            "overwrite.x.resampling.cond",
            "no such condition",
        ),
    ],
)
def test_parameters_are_checked_where_they_are_written(
    parameters: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StandardSequencer(**{"timestamp_column": "at", **parameters})
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert message in found[path]


def test_columns_that_do_not_fit(sequences: Any) -> None:
    text = "when,time,who,x,x_0\nnow,1,1.5,a,b\n"
    with pytest.raises(ConfigurationError) as caught:
        sequences(
            text,
            timestamp_column="when",
            category_column="who",
            sequence_length=1,
            overwrite={
                "x": {"resampling": "mean"},
                "y": {},
                "time": {"resampling": "mode", "filling": method("custom", custom_value="a")},
            },
        )
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert set(found) == {
        "timestamp_column",
        "category_column",
        "overwrite.x.resampling",
        "overwrite.y",
        "overwrite.time.filling.custom_value",
    }
    with pytest.raises(ConfigurationError) as caught:
        sequences("att,x\n1,2\n")
    assert caught.value.problems[0].remedy == "did you mean 'att'?"


def test_columns_that_would_be_called_the_same(sequences: Any) -> None:
    with pytest.raises(ConfigurationError, match="x_0"):
        sequences("at,x_0,x\n1,b,2\n", category_column="x_0")


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("at,x\n0,1\n1,1\n2,1\n3,1\nNA,1\n", "'at' is missing", "row 5"),
        ("at,x\n0.5,1\nnan,1\n", "'at' is missing", "row 2"),
        ("at,x\n0.5,1\ninf,1\n", "'at' is inf, which is no time", "row 2"),
        ("at,x\n1700000000000,1\n", "is 1700000000000, which is no time", "row 1"),
    ],
)
def test_rows_without_a_time(sequences: Any, text: str, message: str, where: str) -> None:
    with pytest.raises(DataError) as caught:
        sequences(text)
    assert message in caught.value.message
    assert caught.value.where == where


def test_sessions_that_are_too_short_and_too_long(sequences: Any) -> None:
    with pytest.raises(DataError, match="no session lasts for 6 steps of 1h") as caught:
        sequences(HOURS, resampling_freq="1h", sequence_length=6)
    assert "gap_threshold=60000" in (caught.value.remedy or "")
    with pytest.raises(DataError, match="more than 10,000,000"):
        sequences("at,x\n0,1\n50000,2\n", resampling_freq="1ms")
