"""Writing a pipeline down costs nothing: no library is imported before a step runs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PUBLIC = {
    "zenml.datasources": [
        "BigQueryDatasource",
        "CSVDatasource",
        "FrameDatasource",
        "ImageDatasource",
        "JSONDatasource",
        "JSONLinesDatasource",
        "PandasDatasource",
        "ParquetDatasource",
        "PostgresDatasource",
        "SQLDatasource",
    ],
    "zenml.steps": ["Column", "Dataset", "Model", "Shard"],
    "zenml.steps.anomalies": ["Anomalies"],
    "zenml.steps.dataset": ["SPLIT_PART", "Column", "Dataset", "Shard", "read_rows"],
    "zenml.steps.derive": ["DerivedColumns"],
    "zenml.steps.evaluator": ["Evaluator"],
    "zenml.steps.inferrer": ["Inferrer"],
    "zenml.steps.model": ["Model"],
    "zenml.steps.preprocesser": ["StandardPreprocesser", "apply"],
    "zenml.steps.sequencer": ["StandardSequencer"],
    "zenml.steps.split": [
        "BaseSplit",
        "CategoricalDomainSplit",
        "CategoricalRatioSplit",
        "NoSplit",
        "RandomSplit",
        "TimeRatioSplit",
        "TimeSplit",
    ],
    "zenml.steps.statistics": ["SplitSchema", "SplitStatistics"],
    "zenml.steps.trainer": [
        "BaseTrainerStep",
        "FeedForwardTrainer",
        "SKLearnTrainer",
        "TFFeedForwardTrainer",
        "TorchFeedForwardTrainer",
    ],
}

PROGRAM = """
import sys
import zenml.core.plugins
before = set(sys.modules)
import zenml.steps.plugin
assert not [name for name in set(sys.modules) - before if not name.startswith("zenml")], "plugin"
from zenml.datasources import CSVDatasource, ParquetDatasource, PostgresDatasource, SQLDatasource
from zenml.datasources import BigQueryDatasource, FrameDatasource, ImageDatasource
from zenml.datasources import JSONLinesDatasource
from zenml.steps import Dataset, Model
from zenml.steps.anomalies import Anomalies
from zenml.steps.derive import DerivedColumns
from zenml.steps.evaluator import Evaluator
from zenml.steps.inferrer import Inferrer
from zenml.steps.preprocesser import StandardPreprocesser, apply
from zenml.steps.sequencer import StandardSequencer
from zenml.steps.split import CategoricalRatioSplit, RandomSplit, TimeRatioSplit
from zenml.steps.statistics import SplitSchema, SplitStatistics
from zenml.steps.trainer import SKLearnTrainer, TFFeedForwardTrainer, TorchFeedForwardTrainer

CSVDatasource(name="rows", path=sys.argv[1]).fingerprint()
ParquetDatasource(name="rows", path=sys.argv[1]).fingerprint()
JSONLinesDatasource(name="rows", path=sys.argv[1]).fingerprint()
BigQueryDatasource(name="rows", query_project="p", query="SELECT 1").fingerprint()
ImageDatasource(name="rows", base_path=sys.argv[2]).fingerprint()
FrameDatasource(name="rows", frame=f"sha256:{'0' * 64}:0").parameters()
SQLDatasource(name="rows", url="sqlite:///rows.db", table="t").fingerprint()
PostgresDatasource(
    name="rows", username="me", password="env:X", database="db", table="t"
).fingerprint()
RandomSplit(split_map={"train": 0.5, "eval": 0.5}).parameters()
halves = {"train": 0.5, "eval": 0.5}
TimeRatioSplit(column="a", split_ratio=halves).parameters()
CategoricalRatioSplit(
    categorical_column="a", categories=["x", "y"], split_ratio=halves
).get_split_names()
SplitStatistics().parameters()
SplitSchema().parameters()
Anomalies().parameters()
StandardPreprocesser(overwrite={"a": {"transform": "no_transform"}}).parameters()
load = {"method": "load_binary_image", "parameters": {"height": 2, "width": 2}}
StandardPreprocesser(overwrite={"a": {"transform": load}}).parameters()
StandardSequencer(timestamp_column="at").parameters()
SKLearnTrainer().parameters()
TFFeedForwardTrainer().parameters()
TorchFeedForwardTrainer().parameters()
Evaluator(slices=["a"]).parameters()
Inferrer(columns=["a"]).parameters()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_a_plan_can_be_built_without_any_library(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    heavy = {
        "PIL",
        "google",
        "keras",
        "numpy",
        "pandas",
        "polars",
        "scipy",
        "skops",
        "sklearn",
        "sqlalchemy",
        "tensorflow",
        "torch",
    }
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_are_these(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == PUBLIC[name]
    for public in module.__all__:
        assert getattr(module, public)
