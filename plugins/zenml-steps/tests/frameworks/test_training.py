"""Feed-forward networks: trained by PyTorch and by Keras, alike in all that can be alike."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.core import Artifact, load
from zenml.core.errors import DataError, IntegrityError, RunCancelledError
from zenml.steps.evaluator import Evaluator
from zenml.steps.trainer import TorchFeedForwardTrainer

# Where there is no GPU, PyTorch may say so when TensorFlow has looked for one before.
pytestmark = pytest.mark.filterwarnings("ignore:CUDA initialization:UserWarning")

TWO_CLASSES: dict[str, Any] = {
    "loss": "binary_crossentropy",
    "metrics": ["accuracy"],
    "lr": 0.01,
    "epochs": 4,
    "batch_size": 16,
    "hidden_layers": [16, 8],
}
THREE_CLASSES = {
    **TWO_CLASSES,
    "loss": "categorical_crossentropy",
    "last_activation": "softmax",
    "output_units": 3,
}
NUMBERS = {**TWO_CLASSES, "loss": "mse", "last_activation": "linear", "metrics": ["mae", "rmse"]}


ONE_HOT = [
    {"method": "compute_and_apply_vocabulary"},
    {"method": "one_hot_encode", "parameters": {"depth": 3}},
]


@pytest.fixture
def simple(bench: Any, write: Any, examples_of: Any) -> Any:
    """Prepares 600 rows whose labels are plain functions of their features."""
    from zenml.steps.preprocesser import StandardPreprocesser
    from zenml.steps.split import RandomSplit

    names = ["UA", "AA", "B6"]
    lines = [
        f"{n % 3},{n % 7},{names[n % 3]},{str(n % 3 == 1).lower()},{n % 3 * 10 + n % 7},one,"
        f"{'inf' if n % 50 == 5 else n}"
        for n in range(600)
    ]
    header = "x,y,carrier,late,sum,same,wild"
    split = RandomSplit(split_map={"train": 0.8, "eval": 0.2})
    path = write("simple.csv", "\n".join([header, *lines]) + "\n")
    examples = bench.run(split, examples=examples_of(bench, path))

    def prepare(label: str, features: Any = ("x", "y"), overwrite: Any = None) -> Any:
        overwrite = {
            "x": {
                "transform": [
                    {"method": "compute_and_apply_vocabulary"},
                    {"method": "one_hot_encode", "parameters": {"depth": 3}},
                ]
            },
            **(overwrite or {}),
        }
        overwrite = {name: how for name, how in overwrite.items() if name in (label, *features)}
        step = StandardPreprocesser(features=list(features), labels=[label], overwrite=overwrite)
        return bench.run(step, examples=examples)

    return prepare


# -- what is learnt --------------------------------------------------------------------------------


def test_two_classes(bench: Any, prepared: Any, library: Any, rows: list[dict[str, Any]]) -> None:
    outputs = prepared(labels=["late"])
    model = bench.run(library.trainer(**{**TWO_CLASSES, "epochs": 10}), **outputs)["model"]
    assert model.task == "classification"
    assert model.classes == [False, True]
    right = sum(row["late"] is said for row, said in zip(rows, model.predict(rows), strict=True))
    assert right / len(rows) > 0.9
    chances = model.predict_proba(rows)
    assert chances.shape == (1_000, 2)
    assert np.allclose(chances.sum(axis=1), 1)
    evaluation = bench.run(Evaluator(slices=["carrier"]), model=model, examples=outputs["examples"])
    assert evaluation["overall"]["accuracy"] > 0.85
    assert evaluation["overall"]["auc"] > 0.95
    assert len(evaluation["slices"]) == 6


@pytest.mark.parametrize("overwrite", [None, {"carrier": {"transform": "hash_strings"}}])
def test_many_classes_are_the_label_s_own_values(
    bench: Any, simple: Any, library: Any, overwrite: Any
) -> None:
    if overwrite:
        overwrite = {
            "carrier": {"transform": {"method": "hash_strings", "parameters": {"hash_buckets": 97}}}
        }
    outputs = simple("carrier", overwrite=overwrite)
    trainer = library.trainer(**{**THREE_CLASSES, "epochs": 6})
    model = bench.run(trainer, **outputs)["model"]
    rows = pl.concat(outputs["examples"].scan(bench.files))
    assert (
        bench.run(Evaluator(split="eval"), model=model, examples=outputs["examples"])["overall"][
            "accuracy"
        ]
        == 1.0
    )
    if not overwrite:
        assert sorted(model.classes) == ["AA", "B6", "UA"]
        assert model.predict(rows) == rows["carrier"].to_list()


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_a_number_in_the_label_s_own_unit(bench: Any, simple: Any, library: Any, loss: str) -> None:
    outputs = simple("sum")
    step = library.trainer(**{**NUMBERS, "loss": loss, "epochs": 25, "dropout_chance": 0})
    trained = bench.run(step, **outputs)
    model = trained["model"]
    assert model.task == "regression"
    rows = pl.concat(outputs["examples"].scan(bench.files))
    assert np.abs(np.array(model.predict(rows)) - rows["sum"].to_numpy()).mean() < 1.5
    measured = bench.run(
        Evaluator(metrics=["rmse", "r2"]), model=model, examples=outputs["examples"]
    )
    assert measured["overall"]["r2"] > 0.9


def test_the_defaults_give_a_number_between_0_and_1(bench: Any, simple: Any, library: Any) -> None:
    trained = bench.run(library.trainer(epochs=1), **simple("late"))
    assert trained["model"].task == "regression"
    assert all(0 <= value <= 1 for value in trained["model"].predict([{"x": 1, "y": 2}]))


def test_without_hidden_layers_it_is_linear(bench: Any, simple: Any, library: Any) -> None:
    trained = bench.run(library.trainer(**{**NUMBERS, "hidden_layers": []}), **simple("sum"))
    assert [layer.weights.shape for layer in trained["model"].layers] == [(4, 1)]


def test_the_history_says_how_it_went(bench: Any, prepared: Any, library: Any) -> None:
    history = bench.run(library.trainer(**TWO_CLASSES), **prepared(labels=["late"]))["history"]
    assert history["hyperparameters"] == {
        **TWO_CLASSES,
        "dropout_chance": 0.2,
        "hidden_activation": "relu",
        "last_activation": "sigmoid",
        "optimizer": "adam",
        "output_units": 1,
        "seed": 0,
        "threads": 1,
    }
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2, 3, 4]
    for epoch in history["epochs"]:
        assert set(epoch["train"]) == set(epoch["eval"]) == {"loss", "accuracy"}
    assert history["epochs"][-1]["train"]["loss"] < history["epochs"][0]["train"]["loss"]


def test_the_history_measures_as_the_evaluator_does(
    bench: Any, prepared: Any, library: Any
) -> None:
    outputs = prepared(labels=["late"])
    trained = bench.run(library.trainer(**TWO_CLASSES), **outputs)
    evaluator = Evaluator(split="eval", metrics=["accuracy"])
    overall = bench.run(evaluator, model=trained["model"], examples=outputs["examples"])["overall"]
    assert trained["history"]["epochs"][-1]["eval"]["accuracy"] == overall["accuracy"]

    outputs = prepared(labels=["delay"], features=["distance"])
    outputs["transform"]["columns"][1]["steps"] = [{"method": "no_transform"}]
    trained = bench.run(library.trainer(**NUMBERS), **outputs)
    eval_ = trained["history"]["epochs"][-1]["eval"]
    assert eval_["loss"] == pytest.approx(eval_["rmse"] ** 2, rel=1e-5)


def test_rows_for_evaluation_may_be_missing(bench: Any, prepared: Any, library: Any) -> None:
    outputs = prepared(labels=["late"], split_mapping={"train_splits": ["train", "test"]})
    mapping = {"train_splits": ["train"], "eval_splits": ["eval"]}
    step = library.trainer(**TWO_CLASSES, split_mapping=mapping)
    assert "eval" in bench.run(step, **outputs)["history"]["epochs"][0]
    # As if there was no such split.
    bench.checkpoints.clear()
    data = outputs["examples"]
    splits = tuple("other" if name == "eval" else name for name in data.splits)
    renamed = type(data)(data.columns, data.shards, splits)
    history = bench.run(library.trainer(**TWO_CLASSES), **{**outputs, "examples": renamed})
    assert "eval" not in history["history"]["epochs"][0]


def test_a_class_that_training_never_saw_is_left_out_of_the_loss(
    bench: Any, simple: Any, library: Any
) -> None:
    outputs = simple("carrier")
    from zenml.steps.preprocesser import StandardPreprocesser
    from zenml.steps.split import CategoricalDomainSplit

    split = CategoricalDomainSplit(
        categorical_column="carrier", split_map={"train": ["UA", "AA"], "eval": ["B6"]}
    )
    examples = bench.run(split, examples=outputs["examples"])
    step = StandardPreprocesser(features=["x", "y"], labels=["carrier"])
    trained = bench.run(library.trainer(**TWO_CLASSES), **bench.run(step, examples=examples))
    assert trained["history"]["epochs"][0]["eval"] is None


# -- the same every time ---------------------------------------------------------------------------


def test_equal_inputs_give_equal_models(
    bench: Any, prepared: Any, library: Any, digest_of: Any
) -> None:
    outputs = prepared(labels=["late"])

    def train(**changes: Any) -> Any:
        bench.checkpoints.clear()
        return digest_of(bench.run(library.trainer(**{**TWO_CLASSES, **changes}), **outputs))

    assert train() == train()
    assert train(seed=1)[0] != train()[0]
    assert train(dropout_chance=0)[0] != train()[0]


@pytest.mark.parametrize("within", [False, True], ids=["after epochs", "within epochs"])
def test_a_training_that_goes_on_gives_what_one_in_one_piece_gives(
    bench: Any,
    prepared: Any,
    library: Any,
    digest_of: Any,
    within: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outputs = prepared(labels=["late"])
    step = library.trainer(**TWO_CLASSES)
    whole = digest_of(bench.run(step, **outputs))
    if within:
        monkeypatch.setattr("zenml.steps._fitting._SECONDS_BETWEEN_CHECKPOINTS", -1.0)
        bench.checkpoints.clear()
        assert digest_of(bench.run(step, **outputs)) == whole
    left = list(bench.checkpoints)
    # Of four epochs, and of four shards in each.
    assert len(left) == (20 if within else 4)
    for place in range(0, len(left), 7 if within else 1):
        bench.checkpoints[:] = [left[place]]
        assert digest_of(bench.run(step, **outputs)) == whole
        # What is left behind on the way is what was left behind before.
        assert bench.checkpoints == left[place:]


@pytest.mark.parametrize("damage", ["other", "another network", "torn", "empty"])
def test_a_checkpoint_that_cannot_be_used_is_none(
    bench: Any,
    prepared: Any,
    library: Any,
    digest_of: Any,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outputs = prepared(labels=["late"])
    step = library.trainer(**TWO_CLASSES)
    whole = digest_of(bench.run(step, **outputs))
    if damage == "another network":
        bench.checkpoints.clear()
        bench.run(library.trainer(**{**TWO_CLASSES, "hidden_layers": [3]}), **outputs)
    else:
        kept = bench.last_checkpoint()
        data = (bench.files.root / kept["state"][0]).read_bytes()
        torn = bench.files.put_bytes(data[: len(data) // 2] if damage == "torn" else b"")
        bench.save_checkpoint(
            {"a": 1} if damage == "other" else {**kept, "state": [torn.digest, torn.size]}
        )
    with caplog.at_level(logging.WARNING):
        assert digest_of(bench.run(step, **outputs)) == whole
    assert "the checkpoint cannot be used, so the training begins anew" in caplog.text


def test_a_training_that_is_cancelled_leaves_a_checkpoint(
    bench: Any, prepared: Any, library: Any, digest_of: Any
) -> None:
    outputs = prepared(labels=["late"])
    step = library.trainer(**TWO_CLASSES)
    whole = digest_of(bench.run(step, **outputs))
    bench.checkpoints.clear()
    asked = iter([False, False, True])
    bench.cancelled = lambda: next(asked)
    with pytest.raises(RunCancelledError):
        bench.run(step, **outputs)
    assert bench.last_checkpoint()["shards"] == 2
    bench.cancelled = lambda: False
    assert digest_of(bench.run(step, **outputs)) == whole


def test_trainings_beside_each_other_do_not_mix(
    bench: Any, prepared: Any, library: Any, digest_of: Any, another_bench: Any
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    outputs = prepared(labels=["late"])
    whole = digest_of(bench.run(library.trainer(**TWO_CLASSES), **outputs))

    class Own(type(bench)):  # type: ignore[misc]
        def __init__(self) -> None:
            self.files, self.checkpoints = bench.files, []

    def train(seed: int) -> Any:
        return Own().run(library.trainer(**TWO_CLASSES, seed=seed), **outputs)

    with ThreadPoolExecutor(3) as pool:
        found = [digest_of(trained) for trained in pool.map(train, [0, 1, 0])]
    assert found[0] == found[2] == whole
    assert found[1] != whole


def test_torch_is_left_as_it_was(bench: Any, prepared: Any) -> None:
    import torch

    torch.manual_seed(1)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    bench.run(TorchFeedForwardTrainer(**TWO_CLASSES), **prepared(labels=["late"]))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


# -- what is stored --------------------------------------------------------------------------------

ACTIVATIONS = ["elu", "linear", "relu", "selu", "sigmoid", "silu", "softsign", "tanh"]


@pytest.fixture
def trained(bench: Any, prepared: Any, library: Any) -> Any:
    return bench.run(library.trainer(**TWO_CLASSES), **prepared(labels=["late"]))["model"]


def stored(bench: Any, model: Any) -> tuple[Artifact, Any]:
    model_format = load(model.artifact_format)()
    return bench.store(model, model_format), model_format


def test_a_stored_model_is_the_same_model(bench: Any, trained: Any, rows: Any) -> None:
    artifact, model_format = stored(bench, trained)
    loaded = model_format.load(artifact, bench.files)
    assert type(loaded) is type(trained)
    assert bench.store(loaded, model_format).digest == artifact.digest
    assert loaded.predict(rows) == trained.predict(rows)
    assert loaded.predict_proba(rows).tobytes() == trained.predict_proba(rows).tobytes()


def test_it_is_data(bench: Any, trained: Any, library: Any) -> None:
    artifact, _ = stored(bench, trained)
    assert artifact.value["layers"] == [
        {"inputs": 4, "units": 16, "activation": "relu"},
        {"inputs": 16, "units": 8, "activation": "relu"},
        {"inputs": 8, "units": 1, "activation": "sigmoid"},
    ]
    assert library.name in artifact.value["versions"]
    assert len(artifact.files) == 6
    for blob in artifact.files.values():
        data = bench.files.fetch(blob).read_bytes()
        assert np.load(io.BytesIO(data), allow_pickle=False).dtype == np.float32


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"inputs": 5, "units": 16, "activation": "relu"}, "not float32 of"),
        ({"inputs": 4, "units": 16, "activation": "exec"}, "exec"),
        ({"inputs": 4}, "units"),
    ],
)
def test_what_is_no_model_is_refused(bench: Any, trained: Any, layer: Any, message: str) -> None:
    artifact, model_format = stored(bench, trained)
    value = {**artifact.value, "layers": [layer, *artifact.value["layers"][1:]]}
    forged = Artifact(format=artifact.format, value=value, files=artifact.files)
    with pytest.raises(IntegrityError, match=message):
        model_format.load(forged, bench.files)


def test_the_library_is_not_needed_to_predict(
    bench: Any, trained: Any, rows: Any, tmp_path: Any
) -> None:
    """In a process of its own, where the library cannot be found: the same bits."""
    artifact, _ = stored(bench, trained)
    (tmp_path / "manifest.json").write_bytes(artifact.encoded)
    code = """
import pathlib, sys
for name in ("keras", "tensorflow", "torch"):
    sys.modules[name] = None
from zenml.core import Artifact, load
folder, store, digest, model_format = sys.argv[1:]
class Files:
    def fetch(self, blob):
        return pathlib.Path(store) / blob.digest
artifact = Artifact.decode((pathlib.Path(folder) / "manifest.json").read_bytes(), digest)
model = load(model_format)().load(artifact, Files())
row = {"distance": 500, "delay": 1.5, "carrier": "UA", "weekend": False}
print(model.predict_proba([row]).tobytes().hex())
"""
    words = [str(tmp_path), str(bench.files.root), artifact.digest, trained.artifact_format]
    said = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    row = {"distance": 500, "delay": 1.5, "carrier": "UA", "weekend": False}
    assert said.stdout.strip() == trained.predict_proba([row]).tobytes().hex()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_library_s_own_network_gives_the_same_but_for_rounding(
    bench: Any, simple: Any, library: Any, activation: str
) -> None:
    changes = {"hidden_activation": activation, "epochs": 1, "dropout_chance": 0}
    outputs = simple("sum")
    own = bench.run(library.trainer(**{**NUMBERS, **changes}), **outputs)["model"]
    bench.checkpoints.clear()
    features = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32) * 3
    assert own.scores(features) == pytest.approx(by_library(own, features)[:, 0], abs=1e-5)


def test_the_library_s_own_network_of_classes_gives_their_chances(
    bench: Any, simple: Any, library: Any, trained: Any
) -> None:
    features = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32) * 3
    chances = by_library(trained, features)[:, 0]
    assert trained.scores(features)[:, 1] == pytest.approx(chances, abs=1e-6)
    bench.checkpoints.clear()
    many = bench.run(library.trainer(**THREE_CLASSES), **simple("carrier"))["model"]
    assert many.scores(features) == pytest.approx(by_library(many, features), abs=1e-6)


def by_library(model: Any, features: Any) -> Any:
    if hasattr(model, "module"):
        import torch

        return model.module()(torch.tensor(features)).detach().numpy()
    return model.keras_model()(features).numpy()


# -- what is refused -------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_training(bench: Any, simple: Any, library: Any) -> None:
    step = library.trainer(**{**NUMBERS, "lr": 1e30, "hidden_activation": "linear"})
    outputs = simple("sum")
    with pytest.raises(DataError, match="the weights have grown beyond all bounds") as failed:
        bench.run(step, **outputs)
    assert "epoch 1, after" in (failed.value.where or "")
    assert "lower lr, which is 1e+30" in (failed.value.remedy or "")


@pytest.mark.parametrize(
    ("label", "parameters", "message", "remedy"),
    [
        ("sum", {}, "gives numbers between 0 and 1 only", "last_activation='linear'"),
        ("sum", {"last_activation": "tanh"}, "between -1 and 1 only", "linear"),
        ("carrier", {}, "is text, and loss='mse' predicts numbers", "categorical_crossentropy"),
        ("carrier", TWO_CLASSES, "has 3 different values", "output_units=3"),
        ("same", TWO_CLASSES, "one value only", "two classes"),
        ("carrier", {**THREE_CLASSES, "output_units": 4}, "has 3 classes", "output_units=3"),
        ("wild", NUMBERS, "not finite", "split"),
    ],
)
def test_a_label_that_does_not_fit(
    bench: Any,
    simple: Any,
    library: Any,
    label: str,
    parameters: Any,
    message: str,
    remedy: str,
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        bench.run(library.trainer(**parameters), **simple(label))
    assert remedy in (refused.value.remedy or "")
    assert bench.checkpoints == []


def test_features_that_are_not_finite_are_named(bench: Any, simple: Any, library: Any) -> None:
    with pytest.raises(DataError, match="not finite: 'wild'"):
        bench.run(library.trainer(**TWO_CLASSES), **simple("late", features=("x", "wild")))


def test_no_rows_to_learn_from(bench: Any, simple: Any, library: Any) -> None:
    from zenml.steps.split import TimeSplit

    outputs = simple("late")
    split = TimeSplit(column="y", split_map={"train": -1, "eval": None})
    outputs["examples"] = bench.run(split, examples=outputs["examples"])
    with pytest.raises(DataError, match="no row for 'train' has a label"):
        bench.run(library.trainer(**TWO_CLASSES), **outputs)


def test_input_units_that_do_not_fit(bench: Any, simple: Any) -> None:
    outputs = simple("late")
    assert bench.run(TorchFeedForwardTrainer(**TWO_CLASSES, input_units=4), **outputs)
    with pytest.raises(DataError, match="have 4 columns, and input_units is 8") as refused:
        bench.run(TorchFeedForwardTrainer(**TWO_CLASSES, input_units=8), **outputs)
    assert "input_units=4" in (refused.value.remedy or "")


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("import tensorflow as tf; tf.constant(1) + 1", "it cannot be told any more"),
        ("import os; os.environ['KERAS_BACKEND'] = 'torch'", "Keras works with torch"),
    ],
)
def test_a_process_where_tensorflow_cannot_be_told_what_to_do(before: str, message: str) -> None:
    code = f"""
{before}
from zenml.core.errors import ZenMLError
from zenml.steps._tensorflow import train
from zenml.steps.trainer import TFFeedForwardTrainer
try:
    train(TFFeedForwardTrainer(), None, None)
except ZenMLError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert message in said.stdout
