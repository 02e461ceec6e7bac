"""Why a step was, or would be, served from the cache or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from zenml.core._canonical import canonical
from zenml.core.engine._keys import Inputs, components
from zenml.core.engine._records import StepRecord
from zenml.core.engine._steps import StepRunner
from zenml.core.errors import StoreUnavailableError
from zenml.core.plan._model import Plan, PlannedStep
from zenml.core.plan._sources import closure_difference

__all__ = ["Previous", "StepPreview", "difference", "preview"]


class Previous(NamedTuple):
    """How a step stood in an earlier run of its pipeline.

    Attributes:
        run: That run's id.
        plan: That run's plan.
        record: What was recorded of the step.
    """

    run: str
    plan: Plan
    record: StepRecord


class StepPreview(NamedTuple):
    """What would happen to one step if the plan ran now.

    Attributes:
        name: The step.
        backend: Type of the backend that would carry it.
        status: ``cached``, ``run``, or ``unknown`` where a step must run first.
        reason: Why, in words.
    """

    name: str
    backend: str
    status: str
    reason: str


def preview(
    plan: Plan,
    runner: StepRunner,
    previous: Callable[[str, str], Previous | None],
) -> Iterator[StepPreview]:
    """What would happen to each step if the plan ran now. Runs nothing and writes nothing.

    Args:
        plan: The plan.
        runner: Looks keys up in the store that the plan would run against.
        previous: Finds the last record of (pipeline, step).
    """
    known: dict[str, str] = {}
    for name, planned in plan.steps.items():
        inputs: Inputs = {}
        waits: list[str] = []
        for input_name, value in planned.inputs.items():
            found: list[str] = []
            for reference in [value] if isinstance(value, str) else value:
                if reference.startswith("sha256:"):
                    found.append(reference.removeprefix("sha256:"))
                elif reference in known:
                    found.append(known[reference])
                else:
                    waits.append(reference.partition(".")[0])
            inputs[input_name] = found[0] if isinstance(value, str) and found else found
        backend = planned.backend.type
        if waits:
            steps = ", ".join(dict.fromkeys(waits))
            reason = f"waits for {steps}; cached if that gives what it gave before"
            yield StepPreview(name, backend, "unknown" if planned.cache else "run", reason)
            continue
        try:
            _, record, fingerprint = runner.look_up(planned, inputs)
        except StoreUnavailableError:
            yield StepPreview(name, backend, "run", "there is no artifact store yet")
            continue
        except Exception as error:  # noqa: BLE001 - a step's own fingerprint() may raise anything
            said = getattr(error, "message", f"{type(error).__name__}: {error}")
            yield StepPreview(name, backend, "run", f"cannot be looked up: {said}")
            continue
        if record is not None:
            known.update({f"{name}.{output}": d for output, d in record.outputs.items()})
            yield StepPreview(name, backend, "cached", f"made by run {record.run}")
        elif not planned.cache:
            yield StepPreview(name, backend, "run", "caching is off")
        else:
            before = previous(plan.pipeline, name)
            if before is None:
                yield StepPreview(name, backend, "run", "no earlier run of this pipeline has it")
            else:
                what = difference(before, plan, planned, inputs, fingerprint)
                yield StepPreview(name, backend, "run", what)


def difference(
    before: Previous, plan: Plan, planned: PlannedStep, inputs: Inputs, fingerprint: Any
) -> str:
    """The first component in which a step differs from its earlier self, in words."""
    earlier = before.plan.steps.get(before.record.step)
    since = f" since run {before.run}"
    if earlier is None:
        return f"the step is new{since}"
    if earlier.code != planned.code:
        old, new = before.plan.code.get(earlier.code), plan.code.get(planned.code)
        what = closure_difference(old, new) if old and new else "its code changed"
        return f"code: {what}{since}"
    was = components(earlier, before.record.inputs, before.record.fingerprint)
    now = components(planned, inputs, fingerprint)
    for part in ("parameters", "inputs", "outputs", "fingerprint"):
        old_part, new_part = was.get(part), now.get(part)
        if canonical(old_part) == canonical(new_part):
            continue
        if isinstance(old_part, dict) and isinstance(new_part, dict):
            for name in [*old_part, *(key for key in new_part if key not in old_part)]:
                if canonical(old_part.get(name)) != canonical(new_part.get(name)):
                    change = f"{_show(old_part.get(name))} -> {_show(new_part.get(name))}"
                    label = {"parameters": "parameter", "inputs": "input"}.get(part, part)
                    return f"{label} {name}: {change}{since}"
        return f"{'the source changed' if part == 'fingerprint' else part + ' changed'}{since}"
    if before.record.status in ("failed", "cancelled", "skipped"):
        return f"it {before.record.status} in run {before.run}"
    return f"nothing changed{since}, but its result is not in this store"


def _show(value: Any) -> str:
    text = value[:12] if isinstance(value, str) and len(value) == 64 else repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
