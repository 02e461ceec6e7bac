"""How good a model is, overall and by slices."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.steps.evaluator import Evaluator
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import BaseSplit
from zenml.steps.trainer import SKLearnTrainer

pytest.importorskip("skops")

from sklearn import metrics

from zenml.steps._evaluation import area_under_curve

ALL_OF_TWO = ("accuracy", "auc", "f1", "precision", "recall")


def train(bench: Any, examples: Any, label: str, estimator: str) -> Any:
    features = [name for name in ("distance", "delay", "weekend") if name != label]
    step = StandardPreprocesser(features=features, labels=[label])
    outputs = bench.run(step, examples=examples)
    trainer = SKLearnTrainer(
        estimator=f"sklearn.ensemble:HistGradientBoosting{estimator}",
        hyperparameters={"max_iter": 5},
    )
    return bench.run(trainer, **outputs), outputs["examples"]


@pytest.fixture
def classified(bench: Any, split_examples: Any) -> tuple[Any, Any]:
    return train(bench, split_examples, "late", "Classifier")


def test_two_classes_are_measured_as_scikit_learn_does(bench: Any, classified: Any) -> None:
    model, examples = classified
    found = bench.run(Evaluator(metrics=ALL_OF_TWO), model=model, examples=examples)
    rows = pl.concat(examples.scan(bench.files, split="test"))
    truth, said = rows["late"].to_numpy(), np.array(model.predict(rows))
    scores = model.predict_proba(rows)[:, 1]
    assert found["overall"] == {
        "count": rows.height,
        "unlabelled": 0,
        "accuracy": pytest.approx(metrics.accuracy_score(truth, said)),
        "auc": pytest.approx(metrics.roc_auc_score(truth, scores)),
        "f1": pytest.approx(metrics.f1_score(truth, said)),
        "precision": pytest.approx(metrics.precision_score(truth, said)),
        "recall": pytest.approx(metrics.recall_score(truth, said)),
    }
    assert (found["task"], found["label"], found["splits"]) == ("classification", "late", ["test"])
    assert found["classes"] == [False, True]


def test_numbers_are_measured_in_their_own_unit(bench: Any, split_examples: Any) -> None:
    model, examples = train(bench, split_examples, "delay", "Regressor")
    evaluator = Evaluator(metrics=["rmse", "mae", "r2"])
    found = bench.run(evaluator, model=model, examples=examples)["overall"]
    rows = pl.concat(examples.scan(bench.files, split="test"))
    labelled = rows.drop_nulls("delay")
    truth, said = labelled["delay"].to_numpy(), np.array(model.predict(labelled))
    assert found["count"] == labelled.height
    assert found["unlabelled"] == rows.height - labelled.height > 0
    assert found["rmse"] == pytest.approx(math.sqrt(metrics.mean_squared_error(truth, said)))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, said))
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, said))


def test_slices_are_by_value_in_order_with_missing_ones_last(bench: Any, classified: Any) -> None:
    model, examples = classified
    evaluator = Evaluator(slices=["carrier", ["weekend", "carrier"]])
    found = bench.run(evaluator, model=model, examples=examples)
    rows = pl.concat(examples.scan(bench.files, split="test")).to_dicts()
    right = defaultdict(list)
    for row, said in zip(rows, model.predict(rows), strict=True):
        for key in ((row["carrier"],), (row["weekend"], row["carrier"])):
            right[key].append(row["late"] is said)
    by = [tuple(item["by"].values()) for item in found["slices"]]
    assert set(by) == set(right)
    assert by == sorted(by, key=lambda key: (len(key), [(v is None, str(v)) for v in key]))
    for item, key in zip(found["slices"], by, strict=True):
        assert list(item["by"]) == (["carrier"] if len(key) == 1 else ["weekend", "carrier"])
        assert item["count"] == len(right[key])
        assert item["accuracy"] == pytest.approx(sum(right[key]) / len(right[key]))


def test_more_than_two_classes_have_an_accuracy(bench: Any, split_examples: Any) -> None:
    model, examples = train(bench, split_examples, "carrier", "Classifier")
    found = bench.run(Evaluator(), model=model, examples=examples)
    assert set(found["overall"]) == {"count", "unlabelled", "accuracy"}
    with pytest.raises(DataError, match="there is no 'auc' for 5 classes"):
        bench.run(Evaluator(metrics=["auc"]), model=model, examples=examples)


def test_a_class_that_training_never_saw_counts_as_wrong(
    bench: Any, write: Any, examples_of: Any
) -> None:
    text = "x,label\n" + "1,a\n2,b\n" * 30 + "1,never seen\n" * 10
    examples = bench.run(SplitByRow(), examples=examples_of(bench, write("rows.csv", text)))
    outputs = bench.run(StandardPreprocesser(features=["x"], labels=["label"]), examples=examples)
    model = bench.run(SKLearnTrainer(), **outputs)
    found = bench.run(Evaluator(), model=model, examples=outputs["examples"])["overall"]
    assert found["count"] == 20
    assert found["accuracy"] == 0.5
    assert found["auc"] == 1.0  # of the rows whose class is known


class SplitByRow(BaseSplit):
    def get_split_names(self) -> list[str]:
        return ["train", "test"]

    def assign(self, frame: pl.DataFrame, first_row: int) -> list[str]:
        return ["train" if first_row + row < 50 else "test" for row in range(frame.height)]


def test_an_infinite_label_cannot_be_measured(bench: Any, write: Any, examples_of: Any) -> None:
    text = "distance,delay\n" + "".join(f"{row},{row / 4}\n" for row in range(60)) + "60,inf\n"
    examples = bench.run(SplitByRow(), examples=examples_of(bench, write("rows.csv", text)))
    step = StandardPreprocesser(features=["distance"], labels=["delay"])
    outputs = bench.run(step, examples=examples)
    trainer = SKLearnTrainer(estimator="sklearn.ensemble:HistGradientBoostingRegressor")
    model = bench.run(trainer, **outputs)
    with pytest.raises(DataError, match="'delay' is infinite in some rows"):
        bench.run(Evaluator(), model=model, examples=outputs["examples"])


def test_which_split_is_evaluated(bench: Any, classified: Any) -> None:
    model, examples = classified
    for parameters, splits in (
        ({}, ["test"]),
        ({"split": "eval"}, ["eval"]),
        ({"split_mapping": {"test_splits": ["eval", "test"]}}, ["eval", "test"]),
    ):
        found = bench.run(Evaluator(**parameters), model=model, examples=examples)
        assert found["splits"] == splits
        assert found["overall"]["count"] == sum(examples.n_rows(split) for split in splits)
    with pytest.raises(DataError, match="no split 'tset'") as caught:
        bench.run(Evaluator(split="tset"), model=model, examples=examples)
    assert caught.value.remedy == "did you mean 'test' for 'tset'?"


def test_the_untransformed_examples_do_as_well(
    bench: Any, classified: Any, split_examples: Any
) -> None:
    model, examples = classified
    one = bench.run(Evaluator(), model=model, examples=examples)
    assert bench.run(Evaluator(), model=model, examples=split_examples) == one


def test_a_slice_that_is_no_column(bench: Any, classified: Any) -> None:
    model, examples = classified
    with pytest.raises(DataError, match="no column 'carier'") as caught:
        bench.run(Evaluator(slices=["carier"]), model=model, examples=examples)
    assert caught.value.remedy == "did you mean 'carrier' for 'carier'?"


def test_metrics_are_checked_where_they_are_written() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Evaluator(metrics=["acuracy"], slices=[[]])
    assert [problem.path for problem in caught.value.problems] == ["metrics[0]", "slices[0]"]
    assert caught.value.problems[0].remedy == "did you mean 'accuracy'?"


# -- the area under the curve ----------------------------------------------------------------------


def test_the_area_counts_pairs_and_ties_half() -> None:
    def by_pairs(truth: np.ndarray, scores: np.ndarray) -> float:
        pairs = [
            1.0 if high > low else 0.5 if high == low else 0.0
            for high in scores[truth]
            for low in scores[~truth]
        ]
        return sum(pairs) / len(pairs)

    rng = np.random.default_rng(5)
    for digits in (0, 1, 6):
        truth = rng.random(200) < 0.3
        scores = np.round(rng.random(200) + truth * 0.3, digits)
        assert area_under_curve(truth, scores) == pytest.approx(by_pairs(truth, scores), rel=1e-14)


def test_the_area_of_one_class_is_unknown() -> None:
    assert area_under_curve(np.array([True, True]), np.array([0.1, 0.2])) is None
    assert area_under_curve(np.array([], dtype=bool), np.array([])) is None
