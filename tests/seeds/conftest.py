"""A user's project: a folder with a table of customers, and a pipeline that learns from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenml.datasources import CSVDatasource
from zenml.pipelines import TrainingPipeline
from zenml.repo import Repository
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer

CITIES = ("Berlin", "Lagos", "Lima")


@pytest.fixture(autouse=True)
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """The repository that the user stands in."""
    rows = (
        f"{18 + number % 50},{CITIES[number % 3]},{'yes' if number % 5 < 2 else 'no'}"
        for number in range(120)
    )
    (tmp_path / "customers.csv").write_text("\n".join(["age,city,bought", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    return Repository.init_repo()


@pytest.fixture
def datasource() -> CSVDatasource:
    return CSVDatasource(name="customers", path="customers.csv")


@pytest.fixture
def pipeline(datasource: CSVDatasource) -> TrainingPipeline:
    """One that is complete, and says nothing of backends."""
    pipeline = TrainingPipeline(name="complete", datasource=datasource)
    pipeline.add_split(RandomSplit(split_map={"train": 0.7, "eval": 0.3}))
    pipeline.add_preprocesser(StandardPreprocesser(features=["age", "city"], labels=["bought"]))
    pipeline.add_trainer(SKLearnTrainer())
    return pipeline
