"""Compares the code that a plan was made from with the code that is there."""

from __future__ import annotations

import os
from typing import Any

from zenml.core._canonical import canonical, from_json
from zenml.core._project import find_root
from zenml.core.contracts._step import Step
from zenml.core.errors import SourceChangedError, SourceError
from zenml.core.plan._model import Plan, PlannedStep
from zenml.core.sources import Closure, closure_of, load, refuse_edited

__all__ = ["check_sources", "closure_difference", "make_step", "roots_of"]


def roots_of(plan: Plan) -> tuple[str, ...]:
    """The plan's import roots as absolute folders, seen from the repository around us."""
    base = find_root()
    return tuple(os.path.abspath(os.path.join(base, root)) for root in plan.import_roots)


def make_step(planned: PlannedStep, roots: tuple[str, ...]) -> Step:
    """Make a step from its source and parameters. Raises ``SourceError``."""
    maker: Any = load(planned.source, roots)
    # In the order of the digest: a result must not depend on an order that its key leaves out.
    made = maker(**from_json(canonical(planned.parameters)))
    if not isinstance(made, Step):
        raise SourceError(
            f"{planned.source} makes {type(made).__name__}, which is not a step",
            remedy="decorate the function with @step, or derive the class from Step",
        )
    return made


def check_sources(plan: Plan) -> None:
    """Raise ``SourceChangedError`` if any step's code is not what the plan was made from."""
    roots = roots_of(plan)
    checked: set[tuple[str, str]] = set()
    for name, planned in plan.steps.items():
        if (planned.source, planned.code) in checked:
            continue
        checked.add((planned.source, planned.code))
        maker = load(planned.source, roots)
        found = closure_of(maker, planned.source)
        if found.digest == planned.code:
            refuse_edited(maker, planned.source)
            continue
        before = plan.code.get(planned.code)
        what = closure_difference(before, found) if before else "its code changed"
        commit = f", or check out commit {plan.git.commit[:12]}" if plan.git else ""
        raise SourceChangedError(
            f"the code is not the code that the plan was made from: {what}",
            where=f"steps.{name} ({planned.source})",
            remedy=f"build the plan again{commit}",
        )


def closure_difference(before: Closure, after: Closure) -> str:
    """The first thing in which two closures differ, in words."""
    for name in sorted({*before.modules, *after.modules}):
        if before.modules.get(name) != after.modules.get(name):
            if name not in before.modules:
                return f"{name} is reached now"
            return f"{name} changed" if name in after.modules else f"{name} is not reached any more"
    for name in sorted({*before.distributions, *after.distributions}):
        old, new = before.distributions.get(name), after.distributions.get(name)
        if old != new:
            return f"{name} was {old or 'not used'} and is {new or 'not used'} now"
    return "nothing"
