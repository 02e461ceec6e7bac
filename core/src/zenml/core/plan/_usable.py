"""Whether a plan that was written down can run here: its code, its parameters, its backends."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core._backends import make_backend, problems_of
from zenml.core.contracts._backend import BackendConfig, BackendKind
from zenml.core.contracts._settings import nearest
from zenml.core.contracts._step import Step
from zenml.core.errors import BackendError, ConfigurationError, PlanError, Problem, SourceError
from zenml.core.plan._model import Plan, PlannedStep
from zenml.core.plan._sources import make_step, roots_of
from zenml.core.plugins._registry import Registry

__all__ = ["check_usable"]


def check_usable(plan: Plan, registry: Registry) -> None:
    """Make every step and backend of a plan once, so that no run stops halfway at a typing error.

    Raises ``PlanError`` that lists every problem. What ``build()`` returned needs no such check: it
    was made of steps and backends that exist.
    """
    problems = list(_problems(plan, registry))
    if problems:
        raise PlanError(f"the plan of pipeline '{plan.pipeline}' cannot be used", problems)


def _problems(plan: Plan, registry: Registry) -> Iterator[Problem]:
    roots = roots_of(plan)
    for name, planned in plan.steps.items():
        path = f"steps.{name}"
        try:
            made = make_step(planned, roots)
        except ConfigurationError as error:
            yield from (problem.within(f"{path}.parameters") for problem in error.problems)
        except (SourceError, TypeError) as error:
            remedy = error.remedy if isinstance(error, SourceError) else None
            yield Problem(f"{path}.source", getattr(error, "message", str(error)), remedy)
        else:
            yield from (problem.within(path) for problem in _mismatches(planned, made))
    # Backends of the user's own come from the folders that loading the steps has put on the path.
    yield from _of_backend("orchestrator", plan.orchestrator, registry, "orchestrator")
    for name, planned in plan.steps.items():
        kind: BackendKind = "training" if planned.kind == "training" else "processing"
        yield from _of_backend(kind, planned.backend, registry, f"steps.{name}.backend")


def _mismatches(planned: PlannedStep, made: Step) -> Iterator[Problem]:
    """Where a plan and the step that it names say different things."""
    wanted = made.signature().inputs
    for name in planned.inputs:
        if name not in wanted:
            remedy = nearest(name, wanted) or f"it takes: {', '.join(wanted) or 'none'}"
            yield Problem(f"inputs.{name}", "no such input", remedy)
    for name, required in wanted.items():
        if required and name not in planned.inputs:
            yield Problem(f"inputs.{name}", "is required and was not given")
    if planned.outputs != tuple(made.outputs):
        yield Problem("outputs", f"the step's outputs are: {', '.join(made.outputs)}")
    if planned.kind != made.kind:
        yield Problem("kind", f"expected {made.kind}, found {planned.kind}")


def _of_backend(
    kind: BackendKind, config: BackendConfig, registry: Registry, path: str
) -> Iterator[Problem]:
    try:
        make_backend(kind, config, registry)
    except (BackendError, ConfigurationError) as error:
        yield from problems_of(error, path)
    except SourceError as error:
        yield Problem(path, error.message, error.remedy)
