"""What a model says of many rows is what it says of each when it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.steps._tables import write_parquet
from zenml.steps.dataset import Dataset, Shard
from zenml.steps.evaluator import Evaluator
from zenml.steps.formats import DatasetFormat
from zenml.steps.inferrer import Inferrer
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import NoSplit
from zenml.steps.trainer import SKLearnTrainer

pytest.importorskip("skops")

TREES = "sklearn.ensemble:HistGradientBoosting{}"


@pytest.fixture
def train(bench: Any, split_examples: Any) -> Callable[..., Any]:
    """Train a model that predicts a label from the other columns."""

    def fit(label: str, kind: str = "Classifier", **overwrite: Any) -> Any:
        names = ("distance", "delay", "carrier", "weekend")
        features = [name for name in names if name != label]
        step = StandardPreprocesser(
            features=features, labels=[label], overwrite={label: overwrite} if overwrite else None
        )
        trainer = SKLearnTrainer(
            estimator=TREES.format(kind), hyperparameters={"max_iter": 5, "max_depth": 3}
        )
        return bench.run(trainer, **bench.run(step, examples=split_examples))

    return fit


def read(bench: Any, dataset: Dataset) -> pl.DataFrame:
    return pl.concat(dataset.scan(bench.files))


@pytest.mark.parametrize(
    ("label", "kind", "overwrite", "expected"),
    [
        ("late", "Classifier", {}, "boolean"),
        ("late", "Classifier", {"transform": "compute_and_apply_vocabulary"}, "boolean"),
        ("carrier", "Classifier", {}, "string"),
        ("distance", "Regressor", {}, "float"),
        ("delay", "Regressor", {}, "float"),
        ("delay", "Regressor", {"transform": "scale_to_0_1"}, "float"),
    ],
)
def test_predictions_are_those_of_the_model_with_the_type_of_the_label(
    bench: Any,
    examples: Any,
    train: Any,
    label: str,
    kind: str,
    overwrite: dict[str, Any],
    expected: str,
) -> None:
    model = train(label, kind, **overwrite)

    predictions = bench.run(Inferrer(), model=model, examples=examples)

    name = f"{label}_prediction"
    assert predictions.schema == {**examples.schema, name: expected}
    assert read(bench, predictions)[name].to_list() == model.predict(read(bench, examples))
    assert [shard.rows for shard in predictions.shards] == [300, 300, 300, 100]


def test_workers_are_said_to_need_the_library_of_the_model(
    bench: Any, examples: Any, split_examples: Any, train: Any
) -> None:
    model = train("late")
    bench.imports.clear()

    bench.run(Inferrer(), model=model, examples=examples)

    assert bench.imports == {"sklearn", "skops"}
    bench.imports.clear()
    bench.run(Evaluator(), model=model, examples=split_examples)
    assert bench.imports == {"sklearn", "skops"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3, 5, 900], "integer"), ([-0.5, 0.1, 2.75], "float"), (["a b", "ü", "1"], "string")],
)
def test_classes_of_every_type_keep_it(
    bench: Any, examples_of: Any, write: Any, values: list[Any], expected: str
) -> None:
    lines = [f'{number % 3 * 10},"{values[number % 3]}"' for number in range(60)]
    source = write("rows.csv", "\n".join(["x,label", *lines]) + "\n")
    examples = bench.run(NoSplit(), examples=examples_of(bench, source, 25))
    everything = {"train_splits": ["nosplit"]}
    step = StandardPreprocesser(features=["x"], labels=["label"], split_mapping=everything)
    model = bench.run(
        SKLearnTrainer(split_mapping=everything), **bench.run(step, examples=examples)
    )

    predictions = bench.run(Inferrer(), model=model, examples=examples)

    said = read(bench, predictions)["label_prediction"].to_list()
    assert predictions.schema["label_prediction"] == expected
    assert said == model.predict(read(bench, examples))
    if expected != "float":  # a float32 is what a float's transform keeps of it
        assert said == [values[number % 3] for number in range(60)]


def test_a_label_that_cannot_be_taken_back_is_predicted_as_the_number_that_it_became(
    bench: Any, examples: Any, train: Any
) -> None:
    buckets = {"method": "hash_strings", "parameters": {"hash_buckets": 3}}
    model = train("carrier", transform=buckets)

    predictions = bench.run(Inferrer(), model=model, examples=examples)

    assert predictions.schema["carrier_prediction"] == "float"
    said = read(bench, predictions)["carrier_prediction"].to_list()
    assert said == model.predict(read(bench, examples))


def test_the_columns_that_were_there_are_shared_and_not_copied(
    bench: Any, split_examples: Any, train: Any
) -> None:
    predictions = bench.run(Inferrer(), model=train("late"), examples=split_examples)

    assert predictions.splits == split_examples.splits
    for shard, before in zip(predictions.shards, split_examples.shards, strict=True):
        assert shard.files == {**before.files, "predictions": shard.files["predictions"]}


def test_the_columns_that_are_kept_are_one_file_with_the_predictions(
    bench: Any, examples: Any, train: Any
) -> None:
    model = train("late")
    whole = read(bench, bench.run(Inferrer(), model=model, examples=examples))

    step = Inferrer(columns=["carrier", "distance"])
    predictions = bench.run(step, model=model, examples=examples)

    kept = ["carrier", "distance", "late_prediction"]
    assert read(bench, predictions).equals(whole.select(kept))
    manifest = bench.store(predictions, DatasetFormat())
    assert sorted(manifest.files) == [f"shard-0000{n}/predictions.parquet" for n in range(4)]
    files = [pl.read_parquet(bench.files.fetch(blob)) for blob in manifest.files.values()]
    assert pl.concat(files).equals(whole.select(kept))
    only = bench.run(Inferrer(columns=[]), model=model, examples=examples)
    assert only.schema == {"late_prediction": "boolean"}


def test_every_class_has_a_score_if_they_are_wanted(bench: Any, examples: Any, train: Any) -> None:
    for label, names in (("late", ["false", "true"]), ("carrier", ["AA", "B6", "DL", "EV", "UA"])):
        model = train(label)
        predictions = bench.run(Inferrer(scores=True, columns=[]), model=model, examples=examples)

        scores = [name for name in predictions.schema if "_score_" in name]
        found = read(bench, predictions)
        assert sorted(scores) == [f"{label}_score_{name}" for name in names]
        rows = read(bench, examples)
        assert (found.select(scores).to_numpy() == model.predict_proba(rows)).all()
        assert found[f"{label}_prediction"].to_list() == model.predict(rows)


def test_a_number_has_no_scores(bench: Any, examples: Any, train: Any) -> None:
    with pytest.raises(DataError, match="'delay' is predicted as a number"):
        bench.run(Inferrer(scores=True), model=train("delay", "Regressor"), examples=examples)


def test_neither_the_shards_nor_the_label_change_a_prediction(
    bench: Any, examples: Any, train: Any, examples_of: Any, write: Any, rows: list[dict[str, Any]]
) -> None:
    model = train("late")
    wanted = read(bench, bench.run(Inferrer(), model=model, examples=examples))["late_prediction"]
    names = [name for name in rows[0] if name != "late"]
    text = pl.DataFrame(rows).select(names).write_csv(null_value="NA")

    for per_shard in (1_000, 77):
        unlabelled = examples_of(bench, write("new.csv", text), per_shard)
        assert "late" not in unlabelled.schema
        predictions = bench.run(Inferrer(), model=model, examples=unlabelled)
        assert read(bench, predictions)["late_prediction"].equals(wanted)


def test_what_training_never_saw_is_predicted_as_when_serving(
    bench: Any, train: Any, examples_of: Any, write: Any
) -> None:
    text = "distance,delay,carrier,weekend\n10,,ZZ,true\n9999999,1e300,NA,NA\nNA,-4.5,UA,false\n"
    model = train("late")

    new = examples_of(bench, write("new.csv", text))
    predictions = read(bench, bench.run(Inferrer(), model=model, examples=new))

    served = [
        {"distance": 10, "delay": None, "carrier": "ZZ", "weekend": True},
        {"distance": 9999999, "delay": 1e300, "carrier": None, "weekend": None},
        {"distance": None, "delay": -4.5, "carrier": "UA", "weekend": False},
    ]
    assert predictions["late_prediction"].to_list() == model.predict(served)


def test_whole_numbers_do_for_a_column_of_floats(
    bench: Any, train: Any, examples_of: Any, write: Any
) -> None:
    model = train("late")
    new = examples_of(bench, write("new.csv", "distance,delay,carrier,weekend\n10,3,UA,true\n"))
    assert new.schema["delay"] == "integer"

    predictions = read(bench, bench.run(Inferrer(), model=model, examples=new))

    served = [{"distance": 10, "delay": 3.0, "carrier": "UA", "weekend": True}]
    assert predictions["late_prediction"].to_list() == model.predict(served)


def test_everything_that_does_not_fit_the_model_is_said_before_any_row_is_read(
    bench: Any, train: Any, examples_of: Any, write: Any
) -> None:
    model = train("late")
    new = examples_of(bench, write("new.csv", "distanse,delay,carrier,weekend\n10,,7,true\n"))
    before = bench.units

    with pytest.raises(ConfigurationError, match="the model does not fit the data") as caught:
        bench.run(Inferrer(), model=model, examples=new)

    assert bench.units == before
    assert [(problem.message, problem.remedy) for problem in caught.value.problems] == [
        (
            "the rows lack what the model was trained on: 'distance'",
            "'distanse' is there: rename it to 'distance'",
        ),
        (
            "'delay' is of type float in training, and of type String here",
            "have the datasource read it so: schema={'delay': 'float'}",
        ),
        (
            "'carrier' is of type string in training, and of type Int64 here",
            "have the datasource read it so: schema={'carrier': 'string'}",
        ),
    ]


def test_a_value_that_does_not_fit_is_found_by_its_row(
    bench: Any, train: Any, examples_of: Any, write: Any
) -> None:
    rows = "".join(f"{distance},1.5,UA,true\n" for distance in (1, 2, 3, 4.5, 5))
    new = examples_of(bench, write("new.csv", f"distance,delay,carrier,weekend\n{rows}"), 3)

    with pytest.raises(DataError, match=r"'distance' holds integers in training, and 4\.5") as told:
        bench.run(Inferrer(), model=train("late"), examples=new)

    assert told.value.where == "row 1, counted from row 4 of the data"


def test_no_rows_give_no_predictions(bench: Any, train: Any, examples: Any) -> None:
    model = train("late")
    nothing = write_parquet(examples.head(bench.files, 0), bench.files)
    added = {
        "late_prediction": pl.Boolean,
        "late_score_false": pl.Float64,
        "late_score_true": pl.Float64,
    }
    for shards in ((), (Shard(0, 0, {"data": nothing}),)):
        none = Dataset(examples.columns, shards)

        predictions = bench.run(Inferrer(scores=True), model=model, examples=none)

        found = predictions.head(bench.files, 10)
        assert found.height == predictions.n_rows() == 0
        assert found.schema == {**examples.head(bench.files, 0).schema, **added}


def test_two_models_predict_side_by_side(bench: Any, train: Any, examples: Any) -> None:
    models = [train("late"), train("carrier"), train("delay", "Regressor")]
    dataset = examples
    for model in models:
        dataset = bench.run(Inferrer(), model=model, examples=dataset)

    found = read(bench, dataset)
    for model in models:
        said = found[f"{model.label}_prediction"].to_list()
        assert said == model.predict(read(bench, examples))


def test_a_column_of_the_same_name_is_not_replaced(bench: Any, train: Any, examples: Any) -> None:
    model = train("late")
    once = bench.run(Inferrer(), model=model, examples=examples)

    with pytest.raises(DataError, match="would be called: 'late_prediction'") as caught:
        bench.run(Inferrer(), model=model, examples=once)

    assert caught.value.remedy == "name other columns to keep: columns=[…]"
    again = bench.run(Inferrer(columns=["carrier"]), model=model, examples=once)
    assert list(again.schema) == ["carrier", "late_prediction"]


def test_columns_to_keep_are_checked(bench: Any, train: Any, examples: Any) -> None:
    with pytest.raises(ConfigurationError, match="names 'carrier' more than once"):
        Inferrer(columns=["carrier", "carrier"])
    with pytest.raises(DataError, match="no column 'carier'") as caught:
        bench.run(Inferrer(columns=["carier"]), model=train("late"), examples=examples)
    assert caught.value.remedy == "did you mean 'carrier' for 'carier'?"


def test_what_is_no_model_is_refused(bench: Any, examples: Any) -> None:
    with pytest.raises(DataError, match="is no model but of type Dataset") as caught:
        bench.run(Inferrer(), model=examples, examples=examples)

    assert caught.value.remedy == "name the output of a trainer, such as 'trainer.model'"
