"""No plan is made from files while the session would execute what they said before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zenml.core import Backend
from zenml.core.errors import PlanError, SourceChangedError
from zenml.core.plan import Plan
from zenml.pipelines import Pipeline

STEPS = """
import helper_that_is_edited as helper
from zenml.core import step
@step
def work(): return helper.A
"""


@pytest.fixture
def helper(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (project / "steps_that_stay.py").write_text(STEPS)
    file = project / "helper_that_is_edited.py"
    file.write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(project))
    before = set(sys.modules)
    yield file
    for name in set(sys.modules) - before:
        del sys.modules[name]


def build(backends: list[Backend]) -> Plan:
    pipeline = Pipeline("p", backends=backends)
    pipeline.add_step(importlib.import_module("steps_that_stay").work())
    return pipeline.build()


def test_a_helper_that_was_edited_after_its_import_is_a_problem(
    helper: Path, backends: list[Backend]
) -> None:
    first = build(backends)
    helper.write_text("A = 2\n")

    with pytest.raises(PlanError, match="edited after it was imported") as caught:
        build(backends)

    assert "steps.work.source" in str(caught.value)
    assert "restart the session" in str(caught.value)
    importlib.reload(importlib.import_module("helper_that_is_edited"))
    assert build(backends).steps["work"].code != first.steps["work"].code


def test_a_plan_of_the_new_code_is_refused_where_the_old_is_loaded(
    helper: Path, backends: list[Backend]
) -> None:
    importlib.import_module("steps_that_stay")
    helper.write_text("A = 2\n")
    loaded = sys.modules.pop("helper_that_is_edited"), sys.modules.pop("steps_that_stay")
    plan = build(backends)
    sys.modules.update({module.__name__: module for module in loaded})

    with pytest.raises(SourceChangedError, match="edited after it was imported"):
        plan.check_sources()
