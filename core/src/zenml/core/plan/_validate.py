"""What can be wrong with a graph of steps, all of it at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from zenml.core.contracts._settings import nearest
from zenml.core.errors import Problem
from zenml.core.plan._model import INPUT, PlannedStep

__all__ = ["STEP_NAME", "graph_problems", "in_order", "name_problem"]

_STEP_KINDS = ("processing", "training")
_OUTPUT = re.compile(r"\w+")
STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")


def name_problem(name: Any) -> str | None:
    """Why ``name`` cannot name a step; None if it can."""
    if isinstance(name, str) and STEP_NAME.fullmatch(name):
        return None
    return f"{name!r} cannot name a step: letters, digits, _ and -, beginning with a letter"


def graph_problems(steps: Mapping[str, PlannedStep]) -> Iterator[Problem]:
    """Everything wrong with how the steps are joined."""
    if not steps:
        yield Problem("steps", "there are none", "add one with add_step()")
    sound = True
    for name, step in steps.items():
        unfit = name_problem(name)
        if unfit:
            yield Problem(f"steps.{name}", unfit)
        yield from (problem.within(f"steps.{name}") for problem in _shape_problems(step))
        for input_name, value in step.inputs.items():
            for reference in [value] if isinstance(value, str) else value:
                problem = _reference_problem(reference, steps)
                if problem:
                    sound = False
                    yield problem.within(f"steps.{name}.inputs.{input_name}")
    if sound:
        cycle = find_cycle(steps)
        if cycle:
            yield Problem("steps", f"they wait for each other: {' -> '.join(cycle)}")


def _shape_problems(step: PlannedStep) -> Iterator[Problem]:
    """What is wrong with a step whatever the others are."""
    if step.kind not in _STEP_KINDS:
        remedy = nearest(step.kind, _STEP_KINDS) or f"there are: {', '.join(_STEP_KINDS)}"
        yield Problem("kind", f"there are no {step.kind!r} steps", remedy)
    if not step.outputs:
        yield Problem("outputs", "there are none", "name at least one")
    for output in step.outputs:
        if not _OUTPUT.fullmatch(output):
            yield Problem("outputs", f"{output!r} cannot name an output: letters, digits and _")
        elif step.outputs.count(output) > 1:
            yield Problem("outputs", f"there are two named {output!r}")


def _reference_problem(reference: str, steps: Mapping[str, PlannedStep]) -> Problem | None:
    match = INPUT.fullmatch(reference)
    if match is None:
        named = steps.get(reference)
        remedy = (
            f"it has several outputs: {', '.join(f'{reference}.{name}' for name in named.outputs)}"
            if named is not None
            else nearest(reference, steps)
        )
        return Problem("", f"expected 'step.output' or 'sha256:…', found {reference!r}", remedy)
    if match["digest"]:
        return None
    source = steps.get(match["step"])
    if source is None:
        remedy = nearest(match["step"], steps) or f"there are: {', '.join(list(steps)[:12])}"
        return Problem("", f"there is no step '{match['step']}'", remedy)
    if match["output"] not in source.outputs:
        remedy = nearest(match["output"], source.outputs) or f"it has: {', '.join(source.outputs)}"
        return Problem("", f"step '{match['step']}' has no output '{match['output']}'", remedy)
    return None


def _dependencies(step: PlannedStep) -> set[str]:
    found = (INPUT.fullmatch(reference) for reference in step.references())
    return {match["step"] for match in found if match and match["step"]}


def in_order(steps: Mapping[str, PlannedStep]) -> dict[str, PlannedStep]:
    """The steps in an order in which they can run, otherwise as they were given.

    The graph must have no cycle.
    """
    ordered: dict[str, PlannedStep] = {}
    for first in steps:
        stack = [(first, False)]
        while stack:
            name, ready = stack.pop()
            if name in ordered:
                continue
            if ready:
                ordered[name] = steps[name]
                continue
            stack.append((name, True))
            # Not '- ordered.keys()': that would look at every step for every step.
            waiting = [other for other in _dependencies(steps[name]) if other not in ordered]
            stack.extend((other, False) for other in sorted(waiting, reverse=True))
    return ordered


def find_cycle(steps: Mapping[str, PlannedStep]) -> list[str] | None:
    """A cycle as ``[a, b, a]``; None if there is none. Does not recurse: chains may be long."""
    done: set[str] = set()
    for first in steps:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(first, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.pop()
                on_path.discard(name)
                done.add(name)
                continue
            if name in on_path:
                return [*path[path.index(name) :], name]
            if name in done:
                continue
            path.append(name)
            on_path.add(name)
            stack.append((name, True))
            stack.extend((other, False) for other in sorted(_dependencies(steps[name])))
    return None
