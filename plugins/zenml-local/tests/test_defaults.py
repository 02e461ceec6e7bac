"""The backends that are meant where none is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zenml import local
from zenml.core import OrchestratorBackend, ProcessingBackend, TrainingBackend, step
from zenml.core.errors import ConfigurationError
from zenml.pipelines import Pipeline
from zenml.repo import Repository


@step
def numbers(count: int = 3) -> list[int]:
    return list(range(count))


@step(kind="training")
def fitted(values: list[int]) -> int:
    return max(values)


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".zenml").mkdir()
    monkeypatch.chdir(tmp_path)


def test_each_kind_is_registered_as_local() -> None:
    found = Repository.get_instance().get_backends()
    rows = [row for row in found if (row.distribution, row.type) == ("zenml-local", "local")]

    assert [(row.kind, row.type, row.status) for row in rows] == [
        ("orchestrator", "local", "available"),
        ("processing", "local", "available"),
        ("training", "local", "available"),
    ]
    assert [row.load() for row in rows] == [
        local.OrchestratorLocalBackend,
        local.ProcessingLocalBackend,
        local.TrainingLocalBackend,
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Orchestrator", OrchestratorBackend),
        ("Processing", ProcessingBackend),
        ("Training", TrainingBackend),
    ],
)
def test_the_first_names_still_work(name: str, kind: type) -> None:
    import zenml.backends

    made = getattr(local, f"{name}BaseBackend")()

    assert isinstance(made, kind)
    assert getattr(zenml.backends, f"{name}BaseBackend") is type(made)


def test_a_pipeline_without_backends_uses_them() -> None:
    pipeline = Pipeline("p")
    pipeline.add_step(numbers())
    pipeline.add_step(fitted(), inputs={"values": "numbers"})

    plan = pipeline.build()

    assert plan.orchestrator.type == "local"
    assert {planned.backend.type for planned in plan.steps.values()} == {"local"}
    assert pipeline.run().load("fitted") == 2


def test_their_parameters_are_in_the_plan() -> None:
    pipeline = Pipeline("p", backend=local.OrchestratorLocalBackend(max_parallel_steps=1))
    pipeline.add_step(numbers().with_backend(local.ProcessingLocalBackend(workers=3)))

    plan = pipeline.build()

    assert plan.orchestrator.args == {"max_parallel_steps": 1}
    assert plan.steps["numbers"].backend.args == {"workers": 3, "mode": "threads"}


def test_a_connected_one_is_used_by_its_name() -> None:
    repository = Repository.get_instance()
    repository.connect_backend("many", local.ProcessingLocalBackend(workers=7))
    pipeline = Pipeline("p")
    pipeline.add_step(numbers().with_backend("many"))

    assert pipeline.build().steps["numbers"].backend.args["workers"] == 7


def test_a_connected_one_of_another_kind_is_refused_when_it_is_planned() -> None:
    Repository.get_instance().connect_backend("many", local.ProcessingLocalBackend())
    pipeline = Pipeline("p", backend="many")
    pipeline.add_step(numbers())

    with pytest.raises(ConfigurationError, match=r"backend: expected orchestrator, found 'many'"):
        pipeline.build()


@pytest.mark.parametrize("value", [0, -1, "1", 1.5, True])
def test_a_wrong_number_of_steps_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_parallel_steps: expected int"):
        local.OrchestratorLocalBackend(max_parallel_steps=value)
