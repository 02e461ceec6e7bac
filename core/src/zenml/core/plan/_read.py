"""Reads plans that were written down, and says everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from zenml.core._canonical import check_plain
from zenml.core._yaml import load_yaml
from zenml.core.contracts._backend import BackendConfig
from zenml.core.contracts._settings import clip, nearest
from zenml.core.errors import ConfigurationError, PlanError, Problem
from zenml.core.plan._model import PLAN_VERSION, Plan, PlannedStep
from zenml.core.plan._validate import graph_problems, in_order
from zenml.core.sources._closure import Closure
from zenml.core.sources._git import GitState

__all__ = ["read_plan"]

_STRUCTS: dict[str, type[msgspec.Struct]] = {
    "plan": Plan,
    "step": PlannedStep,
    "backend": BackendConfig,
    "closure": Closure,
    "git": GitState,
}


def read_plan(text: str, name: str) -> Plan:
    """Read a plan from YAML or JSON. Raises ``PlanError`` that lists every problem."""
    subject = f"{name} is not a plan that can be used"
    try:
        content = load_yaml(text, name)
    except ConfigurationError as error:
        raise PlanError(error.subject, error.problems) from error
    if not isinstance(content, dict):
        raise PlanError(subject, [Problem("", "expected a mapping with pipeline, steps, …")])
    version = content.get("version", PLAN_VERSION)
    if version != PLAN_VERSION or isinstance(version, bool):
        # Nothing else is looked at: another version may mean other things by the same names.
        problem = Problem(
            "version",
            f"this zenml-core reads plans of version {PLAN_VERSION}, this one has {clip(version)}",
            "pip install --upgrade zenml-core"
            if isinstance(version, int) and version > PLAN_VERSION
            else "build the plan again: zenml plan SCRIPT --yaml",
        )
        raise PlanError(subject, [problem])
    problems = list(_check(content, "plan", ""))
    if problems:
        raise PlanError(subject, problems)
    plan = msgspec.convert(content, Plan)
    problems = list(graph_problems(plan.steps))
    if problems:
        raise PlanError(subject, problems)
    return msgspec.structs.replace(plan, steps=in_order(plan.steps))


def _check(content: Any, what: str, path: str) -> Iterator[Problem]:
    """Problems of one mapping, deep: msgspec alone would stop at the first."""
    struct = _STRUCTS[what]
    if not isinstance(content, dict):
        yield Problem(path, f"expected a mapping, found {clip(content)}")
        return
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for key, value in content.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in fields:
            remedy = nearest(str(key), fields) or f"known are: {', '.join(fields)}"
            yield Problem(here, f"no such key in a {what}", remedy)
        elif what == "plan" and key in ("steps", "code"):
            if not isinstance(value, dict):
                yield Problem(here, f"expected a mapping, found {clip(value)}")
                continue
            for inner, item in value.items():
                if not isinstance(inner, str):
                    yield Problem(f"{here}.{inner}", "expected a word as key", "put it in quotes")
                yield from _check(item, "step" if key == "steps" else "closure", f"{here}.{inner}")
        elif key in ("backend", "orchestrator"):
            yield from _check(value, "backend", here)
        elif key == "git" and value is not None:
            yield from _check(value, "git", here)
        else:
            try:
                msgspec.convert(value, fields[key].type)
            except msgspec.ValidationError as error:
                text, _, at = str(error).replace("`", "").partition(" - at $")
                expected = text.replace("Expected", "expected")
                yield Problem(here + at, f"{expected}: {clip(value)}")
                continue
            unfit = check_plain(value) if key in ("parameters", "args") else None
            if unfit:
                yield Problem(here, unfit)
    for name, field in fields.items():
        if field.required and name not in content:
            yield Problem(f"{path}.{name}" if path else name, f"is required in a {what}")
