"""Predicting with a model of an earlier run, which a plan names by the digest of the artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Backend, Datasource, Plan, Run, open_store, step
from zenml.core.errors import (
    ConfigurationError,
    ObjectNotFoundError,
    PipelineImmutableError,
    PlanError,
    RunError,
)
from zenml.pipelines import BatchInferencePipeline, DataPipeline, Pipeline
from zenml.pipelines._datasource import _record


class Rows(Datasource):
    """The numbers below ``count``."""

    outputs = ("examples",)

    count: int = 3

    def run(self) -> list[int]:
        return list(range(self.count))


@step(outputs=["model", "report"], kind="training")
def trainer(factor: int) -> dict[str, Any]:
    return {"model": {"factor": factor}, "report": "fine"}


@step(outputs=["predictions"])
def times(model: dict[str, int], examples: list[int]) -> list[int]:
    return [model["factor"] * example for example in examples]


@step(outputs=["examples"])
def shifted(examples: list[int]) -> list[int]:
    return [example + 1 for example in examples]


@step
def summed(predictions: list[int]) -> int:
    return sum(predictions)


@pytest.fixture
def trained(backends: list[Backend]) -> Run:
    pipeline = Pipeline("training", backends=backends)
    pipeline.add_step(trainer(factor=10))
    return pipeline.run()


@pytest.fixture
def infer(backends: list[Backend]) -> Callable[..., BatchInferencePipeline]:
    """Makes pipelines that multiply three rows with a model."""

    def make(model: Any, **options: Any) -> Any:
        pipeline = BatchInferencePipeline(model, "daily", backends=backends, **options)
        pipeline.add_datasource(Rows(name="rows"))
        return pipeline.add_infer_step(times())

    return make


def test_every_row_is_predicted_by_the_model_of_another_run(trained: Run, infer: Any) -> None:
    pipeline = infer(trained.artifact("trainer.model"))

    run = pipeline.run()

    assert run.load("inferrer.predictions") == [0, 10, 20]
    assert list(run.steps) == ["data", "inferrer"]
    assert run.plan.kind == "infer"


def test_a_model_is_named_in_any_way_and_the_plan_is_the_same(trained: Run, infer: Any) -> None:
    digest = trained.artifact("trainer.model").digest
    named = [
        trained.artifact("trainer.model"),
        digest,
        f"sha256:{digest}",
        digest[:12],
        f"{trained.id}:trainer.model",
    ]

    plans = [infer(model).build() for model in named]

    assert {plan.digest for plan in plans} == {plans[0].digest}
    assert plans[0].steps["inferrer"].inputs["model"] == f"sha256:{digest}"


def test_a_plan_with_a_model_can_be_written_down(trained: Run, infer: Any) -> None:
    plan = infer(trained.artifact("trainer.model")).build()

    assert Plan.from_yaml(plan.to_yaml()) == plan
    assert f"model: sha256:{trained.artifact('trainer.model').digest}" in plan.to_yaml()


def test_a_whole_digest_is_planned_without_any_store(infer: Any) -> None:
    plan = infer("0" * 64).build(artifact_store="no-such-folder")

    assert plan.steps["inferrer"].inputs["model"] == "sha256:" + "0" * 64


def test_a_second_run_comes_from_the_cache_and_another_model_does_not(
    trained: Run, infer: Any, backends: list[Backend]
) -> None:
    infer(trained.artifact("trainer.model")).run()
    other = Pipeline("training", backends=backends)
    other.add_step(trainer(factor=-1))

    again = infer(trained.artifact("trainer.model")).run()
    different = infer(other.run().artifact("trainer.model")).run()

    assert again.steps["inferrer"].status == "cached"
    assert different.load("inferrer.predictions") == [0, -1, -2]


def test_a_committed_snapshot_is_predicted_whatever_became_of_the_source(
    trained: Run, infer: Any, backends: list[Backend]
) -> None:
    # Regression: the id of a commit was ignored, and a step was wanted that nothing could add.
    commit = _record("rows", DataPipeline(Rows(name="rows"), backends=backends).run())
    pipeline = infer(trained.artifact("trainer.model"))

    pipeline.add_datasource(Rows(name="rows", count=99), commit_id=commit)

    assert list(pipeline.build().steps) == ["inferrer"]
    assert pipeline.run().load("inferrer.predictions") == [0, 10, 20]


def test_steps_stand_where_they_were_added(trained: Run, backends: list[Backend]) -> None:
    pipeline = BatchInferencePipeline(trained.artifact("trainer.model"), backends=backends)
    pipeline.add_datasource(Rows(name="rows"))
    pipeline.add_step(shifted())
    pipeline.add_infer_step(times())
    pipeline.add_step(summed())

    assert pipeline.run().load("summed") == 10 + 20 + 30


def test_a_sample_is_bounded(trained: Run, infer: Any) -> None:
    pipeline = infer(trained.artifact("trainer.model"))
    with pytest.raises(RunError, match="'daily' has not run"):
        pipeline.get_predictions()

    pipeline.run()

    assert pipeline.get_predictions() == [0, 10, 20]
    assert pipeline.get_predictions(sample_size=2) == [0, 10]


def test_a_copy_has_not_run_and_predicts_with_the_same_model(trained: Run, infer: Any) -> None:
    pipeline = infer(trained.artifact("trainer.model"))
    pipeline.run()

    made = pipeline.copy("other")

    with pytest.raises(RunError, match="'other' has not run"):
        made.get_predictions()
    assert made.run().load("inferrer.predictions") == [0, 10, 20]
    assert pipeline.get_predictions(1) == [0]


def test_what_is_missing_is_said_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        BatchInferencePipeline("0" * 64).build()

    # Where no orchestrator is installed, that is said too.
    found = {problem.path: problem.remedy for problem in caught.value.problems}
    assert list(found)[:2] == ["datasource", "steps.inferrer"]
    assert found["steps.inferrer"] == "call add_infer_step(…)"


def test_a_second_inferrer_is_refused(infer: Any) -> None:
    with pytest.raises(PipelineImmutableError, match="has an inferrer already: times"):
        infer("0" * 64).add_infer_step(times())


@pytest.mark.parametrize("model", [None, {"factor": 10}, 3])
def test_a_model_itself_is_no_reference_to_one(model: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BatchInferencePipeline(model)

    [problem] = caught.value.problems
    assert problem.remedy == "pass model=run.artifact('trainer.model')"


def test_a_model_that_nobody_knows(trained: Run, infer: Any) -> None:
    for model, error, message in [
        ("trainer.model", ObjectNotFoundError, "not the beginning of a digest"),
        ("0" * 12, ObjectNotFoundError, "no artifact begins with '000000000000'"),
        ("1999:trainer.model", RunError, "there is no run '1999'"),
        (f"{trained.id}:trainer.modle", RunError, "made no output 'modle'"),
        (f"{trained.id}:trainer", RunError, "made no output ''"),
    ]:
        with pytest.raises(error, match=message):
            infer(model).build()


def test_a_model_in_another_store(trained: Run, infer: Any, tmp_path: Path) -> None:
    pipeline = infer(trained.artifact("trainer.model"), artifact_store=str(tmp_path / "other"))

    with pytest.raises(ObjectNotFoundError, match="that input 'model' names") as caught:
        pipeline.run()

    assert "in the artifact store that it was made in" in str(caught.value.remedy)
    assert trained.artifact("trainer.model").digest in str(caught.value.where)


def test_any_step_takes_an_artifact_of_an_earlier_run(
    trained: Run, backends: list[Backend]
) -> None:
    model = trained.artifact("trainer.model")
    pipeline = Pipeline("check", backends=backends)
    pipeline.add_step(Rows(name="rows"), name="rows")
    pipeline.add_step(times(), inputs={"model": model})
    pipeline.add_step(joined(), inputs={"parts": [model, "rows.examples"]})

    run = pipeline.run()

    assert run.load("times") == [0, 10, 20]
    assert run.load("joined") == [{"factor": 10}, [0, 1, 2]]
    assert run.plan.steps["joined"].inputs["parts"] == [f"sha256:{model.digest}", "rows.examples"]


@step
def joined(parts: list[Any]) -> list[Any]:
    return parts


def test_a_run_reads_the_bytes_of_its_artifacts(backends: list[Backend], tmp_path: Path) -> None:
    pipeline = Pipeline("bytes", backends=backends, artifact_store=str(tmp_path / "store"))
    pipeline.add_step(written())

    done = pipeline.run()

    run = Run(done.id, open_store(str(tmp_path / "store")))
    [blob] = run.artifact("written").files.values()
    assert run.files.fetch(blob).read_bytes() == b"some bytes"


@step
def written() -> bytes:
    return b"some bytes"
