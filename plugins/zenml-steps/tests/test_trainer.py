"""Training with scikit-learn, and models that carry their preprocessing."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.core import Artifact
from zenml.core.errors import ConfigurationError, DataError, IntegrityError
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.trainer import BaseTrainerStep, SKLearnTrainer

pytest.importorskip("skops")

from sklearn.ensemble import HistGradientBoostingClassifier

from zenml.steps._sklearn import SKLearnModel, load_model
from zenml.steps.formats import SKLearnModelFormat

REGRESSOR = "sklearn.ensemble:HistGradientBoostingRegressor"


@pytest.fixture
def prepared(bench: Any, split_examples: Any) -> Callable[..., dict[str, Any]]:
    def prepare(**parameters: Any) -> dict[str, Any]:
        step = StandardPreprocesser(**parameters)
        outputs: dict[str, Any] = bench.run(step, examples=split_examples)
        return outputs

    return prepare


@pytest.fixture
def model(bench: Any, prepared: Any) -> SKLearnModel:
    trained: SKLearnModel = bench.run(SKLearnTrainer(), **prepared(labels=["late"]))
    return trained


def test_a_classifier_predicts_the_label_s_own_values(
    model: SKLearnModel, rows: list[dict[str, Any]]
) -> None:
    assert model.task == "classification"
    assert model.classes == [False, True]
    predicted = model.predict(rows)
    right = sum(row["late"] is said for row, said in zip(rows, predicted, strict=True))
    assert right / len(rows) > 0.95


def test_only_training_rows_train(bench: Any, prepared: Any, model: SKLearnModel) -> None:
    examples = prepared(labels=["late"])["examples"]
    train = pl.concat(examples.scan(bench.files, split="train"))
    features = train.select("distance_xf", "delay_xf", "carrier_xf", "weekend_xf").to_numpy()
    expected = HistGradientBoostingClassifier(random_state=0).fit(
        features, train["late_xl"].to_numpy() == 1.0
    )
    assert np.array_equal(model.scores(features), expected.predict_proba(features))


@pytest.mark.parametrize(
    ("label", "overwrite", "classes"),
    [
        ("carrier", None, ["AA", "B6", "UA"]),
        ("late", None, [False, True]),
        ("late", {"late": {"transform": "compute_and_apply_vocabulary"}}, [False, True]),
        ("hour", None, [6, 12, 18]),  # scaled to z scores, as integers are
        ("hour", {"hour": {"transform": "no_transform"}}, [6, 12, 18]),
        ("hour", {"hour": {"transform": "compute_and_apply_vocabulary"}}, [6, 12, 18]),
    ],
)
def test_classes_survive_every_transform_of_the_label(
    bench: Any,
    write: Any,
    examples_of: Any,
    label: str,
    overwrite: Any,
    classes: list[Any],
) -> None:
    from zenml.steps.split import RandomSplit

    names = ["UA", "AA", "B6"]
    lines = [
        f"{number % 3},{names[number % 3]},{str(number % 3 == 1).lower()},{number % 3 * 6 + 6}"
        for number in range(600)
    ]
    text = "\n".join(["x,carrier,late,hour", *lines]) + "\n"
    split = RandomSplit(split_map={"train": 0.8, "eval": 0.2})
    examples = bench.run(split, examples=examples_of(bench, write("rows.csv", text)))
    step = StandardPreprocesser(features=["x"], labels=[label], overwrite=overwrite)
    model = bench.run(SKLearnTrainer(), **bench.run(step, examples=examples))
    assert sorted(model.classes) == classes
    rows = pl.concat(examples.scan(bench.files))
    assert model.predict(rows) == rows[label].to_list()


def test_a_regressor_predicts_in_the_label_s_own_unit(
    bench: Any, prepared: Any, rows: list[dict[str, Any]]
) -> None:
    outputs = prepared(features=["distance"], labels=["delay"])
    model = bench.run(SKLearnTrainer(estimator=REGRESSOR), **outputs)
    assert model.task == "regression"
    predicted = np.array(model.predict(rows))
    actual = np.array([row["delay"] for row in rows if row["delay"] is not None])
    assert predicted.min() >= actual.min() - 10
    assert predicted.max() <= actual.max() + 10
    assert predicted.mean() == pytest.approx(actual.mean(), abs=5)


@pytest.mark.parametrize(
    ("labels", "named"), [([], "none"), (["delay", "late"], "'delay', 'late'")]
)
def test_one_label_is_predicted(bench: Any, prepared: Any, labels: list[str], named: str) -> None:
    outputs = prepared(features=["distance"], labels=labels)
    with pytest.raises(DataError, match=f"predicts one label, and the preprocesser names {named}"):
        bench.run(SKLearnTrainer(), **outputs)


def test_rows_without_label_are_left_out(bench: Any, prepared: Any) -> None:
    from zenml.steps._training import TrainingData

    outputs = prepared(features=["distance"], labels=["delay"])
    data = TrainingData(outputs["examples"], outputs["transform"], None, bench.files)
    features, labels = data.arrays("train")
    train = pl.concat(outputs["examples"].scan(bench.files, split="train"))
    assert len(features) == len(labels) == train["delay"].drop_nulls().len() < train.height


def test_one_hot_vectors_take_a_column_each(bench: Any, prepared: Any) -> None:
    from zenml.steps._training import TrainingData

    chain = [
        "compute_and_apply_vocabulary",
        {"method": "one_hot_encode", "parameters": {"depth": 6}},
    ]
    outputs = prepared(
        features=["distance", "carrier"],
        labels=["late"],
        overwrite={"carrier": {"transform": chain}},
    )
    data = TrainingData(outputs["examples"], outputs["transform"], None, bench.files)
    features, _ = data.arrays("eval")
    assert features.shape[1] == 7
    assert features.dtype == np.float32
    assert set(features[:, 1:].sum(axis=1)) == {1.0}
    model = bench.run(SKLearnTrainer(), **outputs)
    assert model.predict([{"distance": 5, "carrier": "UA"}])[0] in (True, False)


def test_equal_inputs_give_equal_models(bench: Any, prepared: Any, model: SKLearnModel) -> None:
    again = bench.run(SKLearnTrainer(), **prepared(labels=["late"]))
    other = bench.run(SKLearnTrainer(hyperparameters={"max_iter": 3}), **prepared(labels=["late"]))
    digest = bench.store(model, SKLearnModelFormat()).digest
    assert bench.store(again, SKLearnModelFormat()).digest == digest
    assert bench.store(other, SKLearnModelFormat()).digest != digest


ESTIMATORS = [
    "sklearn.ensemble:ExtraTreesClassifier",
    "sklearn.ensemble:GradientBoostingClassifier",
    "sklearn.ensemble:HistGradientBoostingClassifier",
    "sklearn.ensemble:RandomForestClassifier",
    "sklearn.linear_model:LogisticRegression",
    "sklearn.linear_model:SGDClassifier",
    "sklearn.naive_bayes:GaussianNB",
    "sklearn.neighbors:KNeighborsClassifier",
    "sklearn.svm:LinearSVC",
    "sklearn.tree:DecisionTreeClassifier",
]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_stored_model_is_the_same_model(
    bench: Any, prepared: Any, rows: list[dict[str, Any]], estimator: str
) -> None:
    step = SKLearnTrainer(estimator=estimator)
    model = bench.run(step, **prepared(labels=["late"]))
    artifact = bench.store(model, SKLearnModelFormat())
    loaded = SKLearnModelFormat().load(artifact, bench.files)
    # Before anything is predicted: neighbours' trees count how often they were asked.
    assert bench.store(loaded, SKLearnModelFormat()).digest == artifact.digest
    assert loaded.predict(rows) == model.predict(rows)
    assert np.array_equal(loaded.predict_proba(rows), model.predict_proba(rows))
    assert loaded.classes == model.classes


def test_nothing_in_a_stored_model_is_pickled(bench: Any, model: SKLearnModel) -> None:
    artifact = bench.store(model, SKLearnModelFormat())
    data = bench.files.fetch(artifact.files["estimator.skops"]).read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            assert name == "schema.json" or name.endswith((".npy", ".npz"))
            if name.endswith(".npy"):
                np.load(io.BytesIO(archive.read(name)), allow_pickle=False)


@pytest.mark.parametrize(
    "harmful", [("os", "system"), ("subprocess", "Popen"), ("sklearn.utils.fixes", "sys")]
)
def test_a_stored_model_that_names_other_code_is_refused(
    bench: Any, model: SKLearnModel, harmful: tuple[str, str]
) -> None:
    artifact = bench.store(model, SKLearnModelFormat())
    data = bench.files.fetch(artifact.files["estimator.skops"]).read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(contents["schema.json"])
    schema["__module__"], schema["__class__"] = harmful
    contents["schema.json"] = json.dumps(schema).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    name = ".".join(harmful)
    forged = Artifact(
        format=artifact.format,
        # The list in the artifact is written by whoever wrote the file: it proves nothing.
        value={**artifact.value, "types": [*artifact.value["types"], name]},
        files={"estimator.skops": bench.files.put_bytes(buffer.getvalue())},
    )
    with pytest.raises(IntegrityError, match=f"not trusted: {name}"):
        load_model(forged, bench.files)


# -- serving ---------------------------------------------------------------------------------------


def test_rows_and_frames_are_predicted_alike(
    model: SKLearnModel, rows: list[dict[str, Any]]
) -> None:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    assert model.predict(rows) == model.predict(frame) == model.predict(frame.drop("late"))
    assert model.predict_proba(frame).shape == (1_000, 2)
    assert model.predict([]) == []
    assert model.predict(rows[:1]) == model.predict(rows[0])  # type: ignore[arg-type]


def test_pandas_frames_are_predicted_alike(model: SKLearnModel, rows: list[dict[str, Any]]) -> None:
    pandas = pytest.importorskip("pandas")
    assert model.predict(pandas.DataFrame(rows)) == model.predict(rows)


def test_what_are_no_rows_is_refused(model: SKLearnModel) -> None:
    with pytest.raises(DataError, match="expected a dictionary of column to value, found 'UA'"):
        model.predict(["UA"])  # type: ignore[list-item]


def test_what_is_served_is_what_was_trained_on(
    bench: Any, prepared: Any, model: SKLearnModel
) -> None:
    examples = prepared(labels=["late"])["examples"]
    for frame in examples.scan(bench.files):
        features = frame.select("distance_xf", "delay_xf", "carrier_xf", "weekend_xf").to_numpy()
        assert np.array_equal(model.scores(features), model.predict_proba(frame.to_dicts()))


ROW = {"distance": 500, "delay": 1.5, "carrier": "UA", "weekend": False}


@pytest.mark.parametrize(
    ("change", "same_as"),
    [
        ({"distance": 500.0}, {}),
        ({"delay": 2}, {"delay": 2.0}),
        ({"delay": float("nan")}, {"delay": None}),
        ({"distance": float("nan")}, {"distance": None}),
        ({"more": "x"}, {}),
    ],
)
def test_json_s_numbers_are_understood(
    model: SKLearnModel, change: dict[str, Any], same_as: dict[str, Any]
) -> None:
    found = model.predict_proba([{**ROW, **change}])
    assert np.array_equal(found, model.predict_proba([{**ROW, **same_as}]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": "500"}, "'distance' is of type integer in training, and '500' is none"),
        ({"distance": 500.5}, "'distance' is of type integer in training, and 500.5 is none"),
        ({"distance": True}, "'distance' is of type integer in training, and True is none"),
        ({"delay": True}, "'delay' is of type float in training, and True is none"),
        ({"carrier": 5}, "'carrier' is of type string in training, and 5 is none"),
        ({"weekend": 1}, "'weekend' is of type boolean in training, and 1 is none"),
    ],
)
def test_a_value_of_another_type_is_refused(
    model: SKLearnModel, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        model.predict([ROW, {**ROW, **change}])
    assert caught.value.message == message
    assert caught.value.where == "row 2"


def test_a_row_that_lacks_a_feature_is_refused(model: SKLearnModel) -> None:
    lacking = {name: value for name, value in ROW.items() if name != "delay"}
    with pytest.raises(DataError, match="the row lacks 'delay'"):
        model.predict([ROW, lacking])
    with pytest.raises(DataError, match="'delay'") as caught:
        model.predict([{**lacking, "dealy": 1.0}])
    assert caught.value.remedy == "'dealy' is there: rename it to 'delay'"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator", ["os:system", "sklearn", "xgboost:XGBClassifier", "sklearn_evil:X", "sklearn._x:Y"]
)
def test_estimators_come_from_scikit_learn_only(estimator: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a class of scikit-learn"):
        SKLearnTrainer(estimator=estimator)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"estimator": "sklearn.ensemble:Forest"}, "there is no sklearn.ensemble:Forest"),
        ({"estimator": "sklearn.utils:check_array"}, "is not an estimator"),
        ({"estimator": "sklearn.preprocessing:StandardScaler"}, "neither a classifier nor"),
        ({"hyperparameters": {"max_itre": 3}}, "has no such parameter"),
    ],
)
def test_an_estimator_that_cannot_be_made(
    bench: Any, prepared: Any, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        bench.run(SKLearnTrainer(**parameters), **prepared(labels=["late"]))


@pytest.mark.parametrize(
    ("label", "estimator", "message"),
    [
        ("carrier", REGRESSOR, "is text, and sklearn.ensemble:HistGradientBoostingRegressor"),
        ("one", "sklearn.svm:SVC", "has one value only"),
    ],
)
def test_a_label_that_does_not_suit(
    bench: Any, write: Any, examples_of: Any, label: str, estimator: str, message: str
) -> None:
    from zenml.steps.split import RandomSplit

    text = "x,carrier,one\n" + "1,UA,true\n2,AA,true\n" * 50
    split = RandomSplit(split_map={"train": 0.8, "eval": 0.2})
    examples = bench.run(split, examples=examples_of(bench, write("rows.csv", text)))
    outputs = bench.run(StandardPreprocesser(features=["x"], labels=[label]), examples=examples)
    with pytest.raises(DataError, match=message):
        bench.run(SKLearnTrainer(estimator=estimator), **outputs)


def test_too_many_classes_are_probably_numbers(
    bench: Any, prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zenml.steps._sklearn.MOST_CLASSES", 100)
    with pytest.raises(DataError, match="too many for classes") as caught:
        bench.run(SKLearnTrainer(), **prepared(features=["delay"], labels=["distance"]))
    assert "Regressor" in (caught.value.remedy or "")


class MeanTrainer(BaseTrainerStep):
    def run_fn(self, data: Any, context: Any) -> dict[str, float]:
        _, labels = data.arrays("train")
        return {"mean": float(labels.mean())}


def test_a_trainer_of_one_s_own(bench: Any, prepared: Any) -> None:
    outputs = prepared(features=["distance"], labels=["late"])
    train = pl.concat(outputs["examples"].scan(bench.files, split="train"))
    found = bench.run(MeanTrainer(), **outputs)
    assert found == {"mean": pytest.approx(train["late"].mean(), abs=1e-6)}
    mapping = {"train_splits": ["test"]}
    test = pl.concat(outputs["examples"].scan(bench.files, split="test"))
    found = bench.run(MeanTrainer(split_mapping=mapping), **outputs)
    assert found == {"mean": pytest.approx(test["late"].mean(), abs=1e-6)}
    with pytest.raises(DataError, match="no split 'trian'"):
        bench.run(MeanTrainer(split_mapping={"train_splits": ["trian"]}), **outputs)


class SlowMeanTrainer(BaseTrainerStep):
    """As long as `interrupt_after` shards were not done, it is interrupted there."""

    interrupt_after: int = 1_000

    def run_fn(self, data: Any, context: Any) -> dict[str, float]:
        so_far = context.last_checkpoint() or {"shards": 0, "rows": 0, "sum": 0.0}
        for _, labels in data.shards("train", skip=so_far["shards"]):
            if so_far["shards"] == self.interrupt_after:
                raise RuntimeError("interrupted")
            so_far = {
                "shards": so_far["shards"] + 1,
                "rows": so_far["rows"] + len(labels),
                "sum": so_far["sum"] + float(labels.sum()),
            }
            context.save_checkpoint(so_far)
        return {"mean": so_far["sum"] / so_far["rows"]}


def test_a_trainer_of_one_s_own_goes_on_from_its_checkpoint(bench: Any, prepared: Any) -> None:
    outputs = prepared(features=["distance"], labels=["late"])
    with pytest.raises(RuntimeError, match="interrupted"):
        bench.run(SlowMeanTrainer(interrupt_after=2), **outputs)
    assert bench.last_checkpoint()["shards"] == 2
    found = bench.run(SlowMeanTrainer(), **outputs)
    assert len(bench.checkpoints) == 4  # of four shards, each was done once
    train = pl.concat(outputs["examples"].scan(bench.files, split="train"))
    assert found == {"mean": pytest.approx(train["late"].mean(), abs=1e-6)}


def test_shards_come_in_an_order_that_is_a_matter_of_seed_and_epoch(
    bench: Any, prepared: Any
) -> None:
    from zenml.steps._training import TrainingData

    outputs = prepared(labels=["late"])
    data = TrainingData(outputs["examples"], outputs["transform"], None, bench.files)

    def read(**options: Any) -> list[tuple[Any, Any]]:
        return list(data.shards("train", **options))

    def same(one: Any, other: Any) -> bool:
        return all(
            np.array_equal(a, b)
            for left, right in zip(one, other, strict=True)
            for a, b in zip(left, right, strict=True)
        )

    features, labels = data.arrays("train")
    in_order = read()
    assert len(in_order) == 4
    assert np.array_equal(np.concatenate([shard[0] for shard in in_order]), features)
    shuffled = read(seed=3, epoch=1)
    assert same(shuffled, read(seed=3, epoch=1))
    assert same(shuffled[2:], read(seed=3, epoch=1, skip=2))
    for options in ({"seed": 3, "epoch": 2}, {"seed": 4, "epoch": 1}, {}):
        assert not np.array_equal(read(**options)[0][0], shuffled[0][0])
    # Nothing is lost: the same rows, each with its own label.
    every = [np.column_stack([features, labels])]
    mixed = [np.column_stack(shard) for shard in shuffled]
    assert sorted(map(tuple, np.concatenate(mixed))) == sorted(map(tuple, np.concatenate(every)))
    assert np.array_equal(np.concatenate(list(data.labels("train"))), labels)


def test_without_the_extra_the_error_says_what_to_install() -> None:
    """In a process of its own, where the libraries cannot be found."""
    code = """
import sys
sys.modules["skops"] = None
from zenml.steps._sklearn import _import
from zenml.core.errors import ZenMLError
try:
    _import("skops.io")
except ZenMLError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs skops, which is not installed" in said.stdout
    assert "pip install 'zenml-steps[sklearn]'" in said.stdout
