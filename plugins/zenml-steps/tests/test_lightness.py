"""Writing a pipeline down costs nothing: no library is imported before a step runs."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PUBLIC = {
    "zenml.datasources": ["CSVDatasource"],
    "zenml.steps": ["Column", "Dataset", "Model", "Shard"],
    "zenml.steps.dataset": ["SPLIT_PART", "Column", "Dataset", "Shard", "read_rows"],
    "zenml.steps.derive": ["DerivedColumns"],
    "zenml.steps.evaluator": ["Evaluator"],
    "zenml.steps.model": ["Model"],
    "zenml.steps.preprocesser": ["StandardPreprocesser", "apply"],
    "zenml.steps.split": ["BaseSplit", "RandomSplit"],
    "zenml.steps.trainer": ["BaseTrainerStep", "SKLearnTrainer"],
}

PROGRAM = """
import sys
import zenml.core.plugins
before = set(sys.modules)
import zenml.steps.plugin
assert not [name for name in set(sys.modules) - before if not name.startswith("zenml")], "plugin"
from zenml.datasources import CSVDatasource
from zenml.steps import Dataset, Model
from zenml.steps.derive import DerivedColumns
from zenml.steps.evaluator import Evaluator
from zenml.steps.preprocesser import StandardPreprocesser, apply
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer

CSVDatasource(name="rows", path=sys.argv[1]).fingerprint()
RandomSplit(split_map={"train": 0.5, "eval": 0.5}).parameters()
StandardPreprocesser(overwrite={"a": {"transform": "no_transform"}}).parameters()
SKLearnTrainer().parameters()
Evaluator(slices=["a"]).parameters()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_a_plan_can_be_built_without_any_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, __file__], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    heavy = {"numpy", "pandas", "polars", "scipy", "skops", "sklearn"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_are_these(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == PUBLIC[name]
    for public in module.__all__:
        assert getattr(module, public)
