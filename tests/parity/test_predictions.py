"""A model predicts the same for a row wherever, however and in whatever company it is predicted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from zenml.core import Plan, Run
from zenml.core.testing import Project
from zenml.datasources import CSVDatasource
from zenml.local import OrchestratorSubprocessBackend, ProcessingLocalBackend
from zenml.pipelines import BatchInferencePipeline, TrainingPipeline
from zenml.steps.inferrer import Inferrer
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer

N_ROWS = 1_000
NEW = CSVDatasource(name="new", path="new.csv", rows_per_shard=100)


def rows(seed: int, *, labelled: bool) -> str:
    """Penguins as CSV: the heavy ones have long bills, and some values are missing."""
    chance = random.Random(seed)  # noqa: S311
    lines = ["island,bill" + (",heavy" if labelled else "")]
    for _ in range(N_ROWS):
        bill = chance.gauss(44, 5)
        text = "NA" if chance.random() < 0.1 else repr(bill)
        heavy = str(bill + chance.gauss(0, 2) > 44).lower()
        island = chance.choice(["Biscoe", "Dream", "Torgersen"])
        lines.append(f"{island},{text}" + (f",{heavy}" if labelled else ""))
    return "\n".join(lines) + "\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    files = {"old.csv": rows(1, labelled=True), "new.csv": rows(2, labelled=False)}
    made = Project(tmp_path / "project", files)
    monkeypatch.chdir(made.folder)
    return made


def train(seed: int = 0) -> Run:
    pipeline = TrainingPipeline(name="penguins")
    pipeline.add_datasource(CSVDatasource(name="old", path="old.csv"))
    pipeline.add_split(RandomSplit(split_map={"train": 0.8, "eval": 0.2}, seed=seed))
    pipeline.add_preprocesser(StandardPreprocesser(labels=["heavy"]))
    pipeline.add_trainer(SKLearnTrainer())
    return pipeline.run()


@pytest.fixture
def trained(project: Project) -> Run:
    return train()


@pytest.fixture
def infer(trained: Run) -> Callable[..., BatchInferencePipeline]:
    def make(model: Any = None, *, step: Any = None, **options: Any) -> BatchInferencePipeline:
        model = model or trained.artifact("trainer.model")
        pipeline = BatchInferencePipeline(model, "new penguins", **options)
        pipeline.add_datasource(NEW)
        return pipeline.add_infer_step(step or Inferrer(scores=True))

    return make


def test_no_backend_and_no_number_of_workers_changes_a_prediction(
    trained: Run, infer: Any, tmp_path: Path
) -> None:
    runs = []
    for mode, workers in (("threads", 1), ("threads", 4), ("processes", 1), ("processes", 3)):
        backend = ProcessingLocalBackend(mode=mode, workers=workers)  # type: ignore[arg-type]
        runs.append(infer(backends=[backend], enable_cache=False).run())
    job = OrchestratorSubprocessBackend(work_folder=str(tmp_path / "jobs"))
    runs.append(infer(enable_cache=False).run(job))

    assert {run.steps["inferrer"].status for run in runs} == {"succeeded"}
    assert len({run.artifact("inferrer.predictions").digest for run in runs}) == 1
    predictions = runs[-1].load("inferrer.predictions")
    assert len(predictions.shards) == 10
    frame = predictions.head(runs[-1].files, N_ROWS)
    model = trained.load("trainer.model")
    served = frame.select("island", "bill").to_dicts()
    assert frame["heavy_prediction"].to_list() == model.predict(served)
    scores = frame.select("heavy_score_false", "heavy_score_true").to_numpy()
    assert (scores == model.predict_proba(served)).all()
    assert set(frame["heavy_prediction"]) == {False, True}


def test_a_committed_snapshot_is_predicted_from_a_written_plan(
    project: Project, infer: Any
) -> None:
    commit = NEW.commit()
    (project.folder / "new.csv").write_text("nothing of it is left\n1\n")
    pipeline = infer()
    pipeline.add_datasource(NEW, commit_id=commit)

    plan = pipeline.build()
    (project.folder / "plan.yaml").write_text(plan.to_yaml())
    done = project.zenml("run", "plan.yaml")

    assert done.returncode == 0, done.stderr
    assert Plan.from_yaml(plan.to_yaml()).digest == plan.digest
    assert pipeline.run().steps["inferrer"].status == "cached"
    assert pipeline.get_predictions(sample_size=200).height == 200
    assert pipeline.get_predictions().columns[:3] == ["island", "bill", "heavy_prediction"]


def test_predictions_leave_the_store_as_files_for_others(project: Project, infer: Any) -> None:
    pipeline = infer(step=Inferrer(columns=["island"]))
    run = pipeline.run()

    done = project.zenml("artifact", "get", "last:inferrer.predictions", "--to", "out")

    assert done.returncode == 0, done.stderr
    frame = pl.read_parquet(project.folder / "out" / "*" / "predictions.parquet")
    assert frame.equals(pipeline.get_predictions())
    assert frame.columns == ["island", "heavy_prediction"]
    assert frame.height == N_ROWS
    with open("predictions.csv", "wb") as file:
        for number, part in enumerate(run.load("inferrer.predictions").scan(run.files)):
            part.write_csv(file, include_header=number == 0)
    assert pl.read_csv("predictions.csv").equals(frame)


def test_another_model_is_another_plan_and_the_snapshot_comes_from_the_cache(infer: Any) -> None:
    infer().run()
    retrained = train(seed=1)

    other = infer(f"{retrained.id}:trainer.model")

    [difference] = infer().build().diff(other.build())
    assert difference.path == "steps.inferrer.inputs.model"
    assert {name: step.status for name, step in other.run().steps.items()} == {
        "data": "cached",
        "inferrer": "succeeded",
    }
