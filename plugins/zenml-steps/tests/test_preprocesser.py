"""What the preprocesser learns, and what it makes of columns."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.steps import _preprocessing
from zenml.steps.formats import DatasetFormat
from zenml.steps.preprocesser import StandardPreprocesser, apply
from zenml.steps.split import RandomSplit


def preprocess(bench: Any, examples: Any, **parameters: Any) -> tuple[Any, dict[str, Any]]:
    outputs = bench.run(StandardPreprocesser(**parameters), examples=examples)
    return outputs["examples"], outputs["transform"]


def column(transform: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in transform["columns"] if item["column"] == name)


def values(bench: Any, dataset: Any, name: str, split: str | None = None) -> list[Any]:
    return pl.concat(dataset.scan(bench.files, columns=[name], split=split))[name].to_list()


def float32(numbers: list[float]) -> list[float]:
    return pl.Series(numbers, dtype=pl.Float64).cast(pl.Float32).to_list()


def test_defaults_follow_the_types(bench: Any, split_examples: Any) -> None:
    _, transform = preprocess(bench, split_examples, labels=["late"])
    methods = {
        item["column"]: [step["method"] for step in item["steps"]] for item in transform["columns"]
    }
    assert methods == {
        "distance": ["scale_to_z_score"],
        "delay": ["scale_to_z_score"],
        "carrier": ["compute_and_apply_vocabulary"],
        "weekend": ["no_transform"],
        "late": ["no_transform"],
    }
    train = pl.concat(split_examples.scan(bench.files, split="train"))
    assert column(transform, "distance")["filling"] == train["distance"].max()
    assert column(transform, "delay")["filling"] == train["delay"].max()
    assert column(transform, "carrier")["filling"] == ""
    assert column(transform, "weekend")["filling"] is True


def test_results_are_named_and_cast_and_raw_columns_stay(bench: Any, split_examples: Any) -> None:
    dataset, _ = preprocess(
        bench, split_examples, features=["distance", "carrier"], labels=["late"]
    )
    assert dataset.schema == {
        **split_examples.schema,
        "distance_xf": "float32",
        "carrier_xf": "float32",
        "late_xl": "float32",
    }
    assert dataset.splits == split_examples.splits
    for before, after in zip(split_examples.shards, dataset.shards, strict=True):
        assert {part: after.files[part] for part in before.files} == before.files
        assert after.split_rows == before.split_rows
    frame = dataset.frame(dataset.shards[0], bench.files)
    assert frame["late_xl"].dtype == pl.Float32
    assert frame["late_xl"].to_list() == [float(late) for late in frame["late"]]


def test_z_scores_are_of_the_filled_training_rows(bench: Any, split_examples: Any) -> None:
    dataset, transform = preprocess(bench, split_examples, features=["delay"])
    train = values(bench, split_examples, "delay", "train")
    highest = max(value for value in train if value is not None)
    filled = [highest if value is None else value for value in train]
    learnt = column(transform, "delay")["steps"][0]
    assert learnt["mean"] == pytest.approx(statistics.fmean(filled), rel=1e-15)
    assert learnt["deviation"] == pytest.approx(statistics.pstdev(filled), rel=1e-15)
    everything = values(bench, split_examples, "delay")
    expected = [
        ((highest if value is None else value) - learnt["mean"]) / learnt["deviation"]
        for value in everything
    ]
    assert values(bench, dataset, "delay_xf") == pytest.approx(float32(expected), rel=1e-6)


def test_only_training_rows_are_learnt_from(bench: Any, table: str, examples_of: Any) -> None:
    examples = examples_of(bench, table)
    split = RandomSplit(split_map={"train": 0.01, "eval": 0.99})
    few = bench.run(split, examples=examples)
    _, transform = preprocess(bench, few, features=["distance", "carrier"])
    train = pl.concat(few.scan(bench.files, split="train"))
    assert train.height < 30
    seen = set(train["carrier"].drop_nulls())
    assert set(column(transform, "carrier")["steps"][0]["vocabulary"]) - {""} == seen
    assert column(transform, "distance")["filling"] == train["distance"].max()


def test_training_splits_can_be_named(bench: Any, split_examples: Any) -> None:
    mapping = {"train_splits": ["train", "eval"]}
    _, transform = preprocess(bench, split_examples, features=["distance"], split_mapping=mapping)
    both = [
        value
        for split in ("train", "eval")
        for value in values(bench, split_examples, "distance", split)
    ]
    filled = [max(filter(None, both)) if value is None else value for value in both]
    learnt = column(transform, "distance")["steps"][0]
    assert learnt["mean"] == pytest.approx(statistics.fmean(filled), rel=1e-15)


def test_a_vocabulary_is_by_frequency_and_then_by_value(bench: Any, split_examples: Any) -> None:
    dataset, transform = preprocess(bench, split_examples, features=["carrier"])
    counts = Counter(value or "" for value in values(bench, split_examples, "carrier", "train"))
    expected = sorted(counts, key=lambda value: (-counts[value], value))
    vocabulary = column(transform, "carrier")["steps"][0]["vocabulary"]
    assert vocabulary == expected
    assert values(bench, dataset, "carrier_xf") == [
        float(vocabulary.index(value or "")) for value in values(bench, split_examples, "carrier")
    ]


def test_what_training_never_saw_is_minus_one(bench: Any, split_examples: Any) -> None:
    _, transform = preprocess(bench, split_examples, features=["carrier"])
    found = apply(transform, pl.DataFrame({"carrier": ["never seen", "UA", None]}))
    vocabulary = column(transform, "carrier")["steps"][0]["vocabulary"]
    assert found["carrier_xf"].to_list() == [-1.0, vocabulary.index("UA"), vocabulary.index("")]


def overwritten(bench: Any, examples: Any, name: str, **how: Any) -> tuple[list[Any], Any]:
    dataset, transform = preprocess(bench, examples, features=[name], overwrite={name: how})
    return values(bench, dataset, f"{name}_xf"), column(transform, name)


def filled_distance(bench: Any, examples: Any, fill: float) -> list[float]:
    return [fill if value is None else value for value in values(bench, examples, "distance")]


@pytest.mark.parametrize("filling", ["min", "max", "mean"])
def test_fillings_are_learnt(bench: Any, split_examples: Any, filling: str) -> None:
    found, learnt = overwritten(
        bench, split_examples, "distance", filling=filling, transform="no_transform"
    )
    train = [v for v in values(bench, split_examples, "distance", "train") if v is not None]
    fill = {"min": min, "max": max, "mean": statistics.fmean}[filling](train)
    assert learnt["filling"] == pytest.approx(fill, rel=1e-15)
    assert found == float32(filled_distance(bench, split_examples, learnt["filling"]))


def test_a_filling_can_be_given(bench: Any, split_examples: Any) -> None:
    found, _ = overwritten(
        bench,
        split_examples,
        "distance",
        filling=[{"method": "custom", "parameters": {"custom_value": -1}}],
        transform=[{"method": "no_transform", "parameters": {}}],
    )
    assert found == filled_distance(bench, split_examples, -1)


@pytest.mark.parametrize(
    ("transform", "low", "high"),
    [
        ("scale_to_0_1", 0.0, 1.0),
        ({"method": "scale_by_min_max"}, 0.0, 1.0),
        ({"method": "scale_by_min_max", "parameters": {"min": -3, "max": 5}}, -3.0, 5.0),
    ],
)
def test_scaling_by_extremes(
    bench: Any, split_examples: Any, transform: Any, low: float, high: float
) -> None:
    found, _ = overwritten(bench, split_examples, "distance", filling="min", transform=transform)
    train = [v for v in values(bench, split_examples, "distance", "train") if v is not None]
    bottom, top = min(train), max(train)
    expected = [
        (value - bottom) / (top - bottom) * (high - low) + low
        for value in filled_distance(bench, split_examples, bottom)
    ]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_bucketize_makes_buckets_of_equal_size(bench: Any, split_examples: Any) -> None:
    found, learnt = overwritten(
        bench,
        split_examples,
        "distance",
        filling="mean",
        transform={"method": "bucketize", "parameters": {"num_buckets": 4}},
    )
    assert set(found) == {0.0, 1.0, 2.0, 3.0}
    for count in Counter(found).values():
        assert count == pytest.approx(250, abs=40)
    assert len(learnt["steps"][0]["boundaries"]) == 3


def test_hashing_puts_equal_text_into_equal_buckets(bench: Any, split_examples: Any) -> None:
    how = {"method": "hash_strings", "parameters": {"hash_buckets": 10}}
    found, learnt = overwritten(bench, split_examples, "carrier", transform=how)
    buckets = dict(zip(values(bench, split_examples, "carrier"), found, strict=True))
    assert all(0 <= bucket < 10 for bucket in buckets.values())
    # What it always was: BLAKE2b of the UTF-8 text, 8 bytes, little-endian.
    assert buckets["UA"] == 3.0
    assert "vocabulary" not in learnt["steps"][0]


def test_one_hot_vectors(bench: Any, split_examples: Any) -> None:
    chain = [
        "compute_and_apply_vocabulary",
        {"method": "one_hot_encode", "parameters": {"depth": 3}},
    ]
    found, learnt = overwritten(bench, split_examples, "carrier", transform=chain)
    vocabulary = learnt["steps"][0]["vocabulary"]
    assert learnt["output_type"] == "float32[3]"
    for value, vector in zip(values(bench, split_examples, "carrier"), found, strict=True):
        place = vocabulary.index(value or "")
        assert vector == [float(place == number) for number in range(3)]


def test_integers_and_booleans_can_have_a_vocabulary(bench: Any, split_examples: Any) -> None:
    for name in ("distance", "weekend"):
        found, learnt = overwritten(
            bench, split_examples, name, transform="compute_and_apply_vocabulary"
        )
        vocabulary = learnt["steps"][0]["vocabulary"]
        text = str(learnt["filling"]).lower()
        raw = values(bench, split_examples, name)
        expected = [text if value is None else str(value).lower() for value in raw]
        in_training = set(vocabulary)
        assert found == [
            float(vocabulary.index(value)) if value in in_training else -1.0 for value in expected
        ]


@pytest.mark.parametrize("values", [_preprocessing._WAITING_ROWS, 1])
def test_a_vocabulary_does_not_depend_on_how_many_counts_are_added_up_at_once(
    bench: Any, split_examples: Any, monkeypatch: pytest.MonkeyPatch, values: int
) -> None:
    monkeypatch.setattr(_preprocessing, "_WAITING_ROWS", values)
    _, learnt = overwritten(
        bench, split_examples, "distance", transform="compute_and_apply_vocabulary"
    )
    train = pl.concat(split_examples.scan(bench.files, split="train", columns=["distance"]))
    counts = Counter(map(str, train["distance"].fill_null(learnt["filling"])))
    expected = sorted(sorted(counts), key=counts.__getitem__, reverse=True)
    assert len(split_examples.shards) > 1
    assert learnt["steps"][0]["vocabulary"] == expected


def test_a_missing_label_stays_missing(bench: Any, split_examples: Any) -> None:
    dataset, transform = preprocess(
        bench, split_examples, features=["distance"], labels=["delay", "carrier"]
    )
    for name in ("delay", "carrier"):
        assert column(transform, name)["filling"] is None
        raw, made = values(bench, dataset, name), values(bench, dataset, f"{name}_xl")
        assert [value is None for value in raw] == [value is None for value in made]


def test_a_label_is_filled_on_request(bench: Any, split_examples: Any) -> None:
    dataset, _ = preprocess(
        bench, split_examples, labels=["delay"], overwrite={"delay": {"filling": "mean"}}
    )
    assert None not in values(bench, dataset, "delay_xl")


def test_columns_without_values_and_constant_columns(
    bench: Any, write: Any, examples_of: Any
) -> None:
    text = "empty,constant,other\n" + "".join(f"NA,7,{number}\n" for number in range(50))
    examples = examples_of(bench, write("rows.csv", text))
    assert examples.schema["empty"] == "string"
    split = RandomSplit(split_map={"train": 0.5, "eval": 0.5})
    dataset, _ = preprocess(bench, bench.run(split, examples=examples))
    assert set(values(bench, dataset, "constant_xf")) == {0.0}
    assert set(values(bench, dataset, "empty_xf")) == {0.0}


def test_nan_is_missing_too(bench: Any, write: Any, examples_of: Any) -> None:
    text = "x,y\n" + "nan,1\n1.5,2\nNaN,3\n2.5,4\n" * 20
    examples = examples_of(bench, write("rows.csv", text))
    assert examples.schema["x"] == "float"
    split = RandomSplit(split_map={"train": 0.5, "eval": 0.5})
    found, learnt = overwritten(
        bench, bench.run(split, examples=examples), "x", transform="no_transform"
    )
    assert learnt["filling"] == 2.5
    assert set(found) == {1.5, 2.5}


def test_the_same_transform_gives_the_same_columns_anywhere(
    bench: Any, split_examples: Any
) -> None:
    """What serving computes from a raw row is, bit for bit, what training was given."""
    dataset, transform = preprocess(bench, split_examples, labels=["late"])
    outputs = [item["output"] for item in transform["columns"]]
    for shard in dataset.shards:
        frame = dataset.frame(shard, bench.files)
        assert apply(transform, frame.select(list(split_examples.schema))).equals(
            frame.select(outputs)
        )


def test_sharding_does_not_change_what_is_learnt(
    bench: Any, table: str, examples_of: Callable[..., Any]
) -> None:
    learnt = []
    for rows_per_shard in (1_000, 300, 11):
        split = RandomSplit(split_map={"train": 0.6, "eval": 0.4}, seed=1)
        examples = bench.run(split, examples=examples_of(bench, table, rows_per_shard))
        learnt.append(preprocess(bench, examples, labels=["late"])[1])
    assert learnt[0] == learnt[1] == learnt[2]


def test_a_second_run_gives_the_same_artifact(
    bench: Any, another_bench: Any, table: str, examples_of: Callable[..., Any]
) -> None:
    digests = set()
    for workbench in (bench, another_bench):
        split = RandomSplit(split_map={"train": 0.6, "eval": 0.4}, seed=1)
        examples = workbench.run(split, examples=examples_of(workbench, table))
        dataset, _ = preprocess(workbench, examples, labels=["late"])
        digests.add(workbench.store(dataset, DatasetFormat()).digest)
    assert len(digests) == 1


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overwrite", "path", "message", "remedy"),
    [
        (
            {"x": {"transform": "scale_to_zscore"}},
            "overwrite.x.transform",
            "no such transform: 'scale_to_zscore'",
            "did you mean 'scale_to_z_score'?",
        ),
        (
            {"x": {"transform": [{"method": "no_transfrom", "parameters": {}}]}},
            "overwrite.x.transform[0]",
            "no such transform",
            "did you mean 'no_transform'?",
        ),
        ({"x": {"filling": "maximum"}}, "overwrite.x.filling", "no such filling", None),
        (
            {"x": {"tranform": "no_transform"}},
            "overwrite.x.tranform",
            "no such key",
            "did you mean 'transform'?",
        ),
        (
            {"x": {"filling": ["min", "max"]}},
            "overwrite.x.filling",
            "filled once; found 2 fillings",
            None,
        ),
        (
            {"x": {"transform": {"method": "bucketize"}}},
            "overwrite.x.transform.num_buckets",
            "requires it",
            None,
        ),
        (
            {"x": {"transform": {"method": "bucketize", "parameters": {"num_buckets": "5"}}}},
            "overwrite.x.transform.num_buckets",
            "expected int, found '5'",
            None,
        ),
        (
            {"x": {"transform": {"method": "bucketize", "parameters": {"buckets": 5}}}},
            "overwrite.x.transform.buckets",
            "has no such parameter",
            "did you mean 'num_buckets'?",
        ),
        (
            {"x": {"transform": {"method": "scale_by_min_max", "parameters": {"min": 2}}}},
            "overwrite.x.transform",
            "min must be less than max",
            None,
        ),
        (
            {
                "x": {
                    "transform": [
                        {"method": "one_hot_encode", "parameters": {"depth": 3}},
                        "scale_to_z_score",
                    ]
                }
            },
            "overwrite.x.transform[1]",
            "'scale_to_z_score' takes a number, and 'one_hot_encode' gives a vector",
            None,
        ),
        (
            {"x": {"transform": ["no_transform", "compute_and_apply_vocabulary"]}},
            "overwrite.x.transform[1]",
            "takes a text, and 'no_transform' gives a number",
            None,
        ),
        (
            {"x": {"transform": {"method": "ngrams", "parameters": {"ngram_range": [1, 2]}}}},
            "overwrite.x.transform",
            "ends with 'ngrams', which gives terms",
            "put tfidf after it",
        ),
        (
            {"x": {"transform": {"method": "ngrams", "parameters": {"ngram_range": [2, 1]}}}},
            "overwrite.x.transform.ngram_range",
            "expected the shortest and the longest length",
            None,
        ),
        (
            {"x": {"transform": {"method": "pca", "parameters": {"output_dim": 2}}}},
            "overwrite.x.transform",
            "'pca' takes a vector, and a column holds none",
            "put one_hot_encode or tfidf before it",
        ),
        (
            {
                "x": {
                    "transform": [
                        {"method": "tfidf", "parameters": {"vocab_size": 3}},
                        {"method": "pca", "parameters": {"output_dim": 4}},
                    ]
                }
            },
            "overwrite.x.transform[1].output_dim",
            "expected at most 3, found 4",
            None,
        ),
        (
            {
                "x": {
                    "transform": [
                        {"method": "tfidf", "parameters": {"vocab_size": 300}},
                        {"method": "pca", "parameters": {"output_dim": 4, "dtype": "int"}},
                    ]
                }
            },
            "overwrite.x.transform[1].dtype",
            "expected 'float32' or 'float64', found 'int'",
            None,
        ),
        (
            {
                "x": {
                    "transform": [
                        {"method": "tfidf", "parameters": {"vocab_size": 300}},
                        {"method": "pca", "parameters": {"output_dim": 4}},
                    ]
                }
            },
            "overwrite.x.transform[1]",
            "'pca' takes vectors of at most 256, and 'tfidf' gives 300",
            None,
        ),
        ({"x": "no_transform"}, "overwrite.x", "expected {'filling'", None),
        ({"x": {"transform": []}}, "overwrite.x.transform", "is empty", None),
        ({"x": {"transform": 5}}, "overwrite.x.transform", "expected a name or", None),
    ],
)
def test_an_overwrite_is_checked_where_it_is_written(
    overwrite: dict[str, Any], path: str, message: str, remedy: str | None
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StandardPreprocesser(overwrite=overwrite)
    found = {problem.path: problem for problem in caught.value.problems}
    assert message in found[path].message
    assert remedy is None or found[path].remedy == remedy


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        StandardPreprocesser(
            features=["a", "b", "a", "y"],
            labels=["y"],
            overwrite={"aa": {}, "b": {"transform": "nothing"}},
            split_mapping={"train_split": ["train"]},
        )
    assert {problem.path for problem in caught.value.problems} == {
        "features",
        "overwrite.aa",
        "overwrite.b.transform",
        "split_mapping.train_split",
    }


def test_columns_that_the_data_does_not_have(bench: Any, split_examples: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        preprocess(bench, split_examples, features=["distanec"], labels=["lat"])
    found = {problem.path: problem.remedy for problem in caught.value.problems}
    assert found == {"features": "did you mean 'distance'?", "labels": "did you mean 'late'?"}


def test_transforms_that_do_not_fit_the_type(bench: Any, split_examples: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        preprocess(
            bench,
            split_examples,
            overwrite={
                "carrier": {"transform": "scale_to_z_score", "filling": "max"},
                "distance": {"filling": {"method": "custom", "parameters": {"custom_value": "x"}}},
                "delay": {"transform": "compute_and_apply_vocabulary"},
            },
        )
    assert {problem.path for problem in caught.value.problems} == {
        "overwrite.carrier.transform",
        "overwrite.carrier.filling",
        "overwrite.distance.filling.custom_value",
        "overwrite.delay.transform",
    }


def test_data_without_splits(bench: Any, examples: Any) -> None:
    with pytest.raises(DataError, match="no split 'train'") as caught:
        preprocess(bench, examples)
    assert caught.value.remedy == "add a split step before this one"


def test_a_vocabulary_has_a_limit(
    bench: Any, split_examples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zenml.steps._preprocessing.VOCABULARY_LIMIT", 3)
    with pytest.raises(DataError, match="more than 3 different values") as caught:
        preprocess(bench, split_examples, features=["carrier"])
    assert "hash_strings" in (caught.value.remedy or "")


# -- serving ---------------------------------------------------------------------------------------


def test_values_are_taken_in_any_type_that_loses_nothing(bench: Any, split_examples: Any) -> None:
    _, transform = preprocess(bench, split_examples)
    frame = pl.DataFrame(
        {
            "distance": pl.Series([100.0, float("nan")]),  # integers with gaps, from pandas
            "delay": pl.Series([5, 6], dtype=pl.Int16),
            "carrier": pl.Series(["UA", None], dtype=pl.Categorical),
            "weekend": pl.Series([None, None], dtype=pl.Null),
            "late": [True, False],
            "unknown": ["x", "y"],
        }
    )
    plain = pl.DataFrame(
        {
            "distance": [100, None],
            "delay": [5.0, 6.0],
            "carrier": ["UA", None],
            "weekend": pl.Series([None, None], dtype=pl.Boolean),
            "late": [True, False],
        }
    )
    assert apply(transform, frame).equals(apply(transform, plain))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": [1.5]}, "'distance' holds integers in training, and 1.5 is none"),
        ({"distance": ["1"]}, "'distance' is of type integer in training, and of type String"),
        ({"carrier": [5]}, "'carrier' is of type string in training"),
        ({"weekend": [1]}, "'weekend' is of type boolean in training"),
    ],
)
def test_values_of_another_type_are_refused(
    bench: Any, split_examples: Any, change: dict[str, Any], message: str
) -> None:
    _, transform = preprocess(bench, split_examples)
    row = {"distance": [1], "delay": [1.0], "carrier": ["UA"], "weekend": [True], "late": [True]}
    with pytest.raises(DataError) as caught:
        apply(transform, pl.DataFrame({**row, **change}))
    assert message in caught.value.message


def test_a_missing_feature_is_named_with_the_nearest_column(
    bench: Any, split_examples: Any
) -> None:
    _, transform = preprocess(bench, split_examples, features=["distance", "carrier"])
    with pytest.raises(DataError, match="'distance'") as caught:
        apply(transform, pl.DataFrame({"Distance": [1], "carrier": ["UA"]}))
    assert caught.value.remedy == "'Distance' is there: rename it to 'distance'"
