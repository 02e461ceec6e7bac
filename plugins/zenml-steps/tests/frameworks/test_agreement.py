"""Training and serving agree bit by bit, on 10,000 raw rows, for every trainer."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.core import Blob, load
from zenml.steps._applying import matrix
from zenml.steps._evaluation import predict_shard
from zenml.steps._plain import put
from zenml.steps._tables import read_parquet
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer, TFFeedForwardTrainer, TorchFeedForwardTrainer

# Where there is no GPU, PyTorch may say so when TensorFlow has looked for one before.
pytestmark = pytest.mark.filterwarnings("ignore:CUDA initialization:UserWarning")

FEATURES = ["month", "hour", "carrier", "dest", "distance", "dep_delay", "air_time", "tailnum"]
CLASSES = {
    "loss": "categorical_crossentropy",
    "last_activation": "softmax",
    "output_units": 3,
    "hidden_activation": "tanh",
    "epochs": 2,
    "batch_size": 64,
}
NUMBERS = {"loss": "huber", "last_activation": "linear", "hidden_activation": "silu", "epochs": 2}

#: A label, and a trainer for it. Estimators whose arithmetic a BLAS library does, and trees.
TRAINERS = {
    "linear classifier": ("origin", SKLearnTrainer(estimator="sklearn.linear_model:SGDClassifier")),
    "linear regressor": (
        "arr_delay",
        SKLearnTrainer(estimator="sklearn.linear_model:LinearRegression"),
    ),
    "network classifier": (
        "origin",
        SKLearnTrainer(
            estimator="sklearn.neural_network:MLPClassifier",
            hyperparameters={"hidden_layer_sizes": [33, 17], "tol": 0.1},
        ),
    ),
    "tree regressor": (
        "arr_delay",
        SKLearnTrainer(
            estimator="sklearn.ensemble:HistGradientBoostingRegressor",
            hyperparameters={"max_iter": 20},
        ),
    ),
    "tensorflow classifier": ("origin", TFFeedForwardTrainer(**CLASSES)),
    "tensorflow regressor": ("arr_delay", TFFeedForwardTrainer(**NUMBERS)),
    "torch classifier": ("origin", TorchFeedForwardTrainer(**CLASSES)),
    "torch regressor": ("arr_delay", TorchFeedForwardTrainer(**NUMBERS)),
}


class Case:
    """A trained model, and the rows."""

    def __init__(self, bench: Any, flights: Path, examples_of: Any, name: str) -> None:
        label, trainer = TRAINERS[name]
        self.bench = bench
        examples = examples_of(bench, str(flights), rows_per_shard=3_000)
        split = RandomSplit(split_map={"train": 0.7, "eval": 0.2, "test": 0.1})
        examples = bench.run(split, examples=examples)
        overwrite = {
            "dest": {
                "transform": [
                    "compute_and_apply_vocabulary",
                    {"method": "one_hot_encode", "parameters": {"depth": 50}},
                ]
            }
        }
        step = StandardPreprocesser(features=FEATURES, labels=[label], overwrite=overwrite)
        outputs = bench.run(step, examples=examples)
        trained = bench.run(trainer, **outputs)
        self.model = trained["model"] if isinstance(trained, dict) else trained
        self.examples, self.transform = outputs["examples"], outputs["transform"]
        self.frame = pl.concat(examples.scan(bench.files))
        self.rows = self.frame.to_dicts()

    def bits(self, rows: Any) -> bytes:
        return bits_of(self.model, rows)


def bits_of(model: Any, rows: Any) -> bytes:
    """What a model says of rows, eight bytes for each number."""
    if model.task == "classification":
        return model.predict_proba(rows).astype(np.float64).tobytes()
    return np.array(model.predict(rows), dtype=np.float64).tobytes()


@pytest.fixture(params=TRAINERS)
def case(request: Any, bench: Any, flights: Path, examples_of: Any) -> Case:
    return Case(bench, flights, examples_of, request.param)


def test_training_and_serving_agree_bit_by_bit(case: Case, tmp_path: Path) -> None:
    model, rows = case.model, case.rows
    assert len(rows) == 10_000

    # What is computed from raw rows is what was trained on.
    served: list[Any] = []
    scores = model.scores
    model.scores = lambda features: served.append(features) or scores(features)
    whole = case.bits(rows)
    del model.scores
    shards = [matrix(case.transform, frame) for frame in case.examples.scan(case.bench.files)]
    assert len(shards) == 4
    assert np.concatenate(shards).tobytes() == served[0].tobytes()
    assert np.isfinite(np.frombuffer(whole)).all()

    # A row's prediction is its own, whichever rows are predicted with it, and where among them.
    size = len(whole) // len(rows)
    each = [whole[place : place + size] for place in range(0, len(whole), size)]
    assert len(set(each)) > 100
    chance = np.random.default_rng(1)
    order = chance.permutation(len(rows)).tolist()
    assert case.bits([rows[place] for place in order]) == b"".join(each[n] for n in order)
    assert case.bits(case.frame) == whole
    for place in order[:120]:
        assert case.bits([rows[place]]) == each[place]
    while order:
        some = [order.pop() for _ in range(min(len(order), int(chance.integers(1, 1_500))))]
        assert case.bits([rows[place] for place in some]) == b"".join(each[n] for n in some)

    # So it is in another process, from what is stored.
    artifact = case.bench.store(model, load(model.artifact_format)())
    (tmp_path / "manifest.json").write_bytes(artifact.encoded)
    case.frame.write_parquet(tmp_path / "rows.parquet")
    words = [str(tmp_path), str(case.bench.files.root), artifact.digest, model.artifact_format]
    said = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(Path(__file__)), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == hashlib.sha256(whole).hexdigest()

    # And so the evaluator sees it, shard by shard.
    assert predictions_of_shards(case, artifact) == predictions_of_labelled(case)


ELSEWHERE = """
import hashlib, importlib.util, pathlib, sys
import polars
from zenml.core import Artifact, load
test, folder, store, digest, model_format = sys.argv[1:]
class Files:
    def fetch(self, blob):
        return pathlib.Path(store) / blob.digest
artifact = Artifact.decode((pathlib.Path(folder) / "manifest.json").read_bytes(), digest)
model = load(model_format)().load(artifact, Files())
spec = importlib.util.spec_from_file_location("test", test)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
rows = polars.read_parquet(pathlib.Path(folder) / "rows.parquet")
print(hashlib.sha256(module.bits_of(model, rows)).hexdigest())
"""


def predictions_of_shards(case: Case, artifact: Any) -> bytes:
    files, model = case.bench.files, case.model
    stored = {
        "name": artifact.format,
        "value": artifact.value,
        "files": {name: [blob.digest, blob.size] for name, blob in artifact.files.items()},
    }
    common = {"format": model.artifact_format, "model": put(stored, files), "slices": []}
    columns = [*model.features, model.label]
    payloads = [
        {**common, "shard": case.examples.unit(shard, columns=columns)}
        for shard in case.examples.shards
    ]
    results = case.bench.map(predict_shard, payloads)
    frames = [read_parquet(Blob(*result["predictions"]), files) for result in results]
    return pl.concat(frames)["prediction"].to_numpy().tobytes()


def predictions_of_labelled(case: Case) -> bytes:
    labelled = case.frame.filter(case.frame[case.model.label].is_not_null())
    if case.model.task == "regression":
        return np.array(case.model.predict(labelled), dtype=np.float64).tobytes()
    return case.model.predict_proba(labelled).argmax(axis=1).astype(np.int64).tobytes()
