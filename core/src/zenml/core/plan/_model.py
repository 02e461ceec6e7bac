"""The plan: everything that a run will do, frozen, canonical and readable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from zenml.core._canonical import canonical, digest_of
from zenml.core.contracts._backend import BackendConfig
from zenml.core.sources._closure import Closure
from zenml.core.sources._git import GitState

__all__ = ["INPUT", "PLAN_VERSION", "Difference", "Plan", "PlannedStep", "step_of"]

PLAN_VERSION = 1

#: An input is an output of another step, or an artifact that exists already.
INPUT = re.compile(r"(?P<step>[A-Za-z0-9_-]+)\.(?P<output>\w+)|sha256:(?P<digest>[0-9a-f]{64})")


def step_of(reference: str) -> str | None:
    """The step that an input refers to; None for an artifact named by its digest."""
    match = INPUT.fullmatch(reference)
    return match["step"] if match else None


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a plan.

    Attributes:
        source: ``module:name`` of what makes the step.
        code: Digest of its code closure; the plan's ``code`` has the details.
        kind: Kind of backend that carries it.
        parameters: Every parameter, defaults included.
        inputs: Input name to ``step.output`` or ``sha256:…``; a list joins several.
        outputs: Names of its outputs.
        backend: The processing or training backend that carries it.
        unkeyed: Parameters that stay out of the cache key.
        external: Whether it reads something from outside, whose fingerprint is taken at run time.
        cache: Whether a cached result may be used.
    """

    source: str
    code: str
    kind: str
    backend: BackendConfig
    parameters: dict[str, Any] = {}
    inputs: dict[str, str | list[str]] = {}
    outputs: tuple[str, ...] = ("output",)
    unkeyed: tuple[str, ...] = ()
    external: bool = False
    cache: bool = True

    def references(self) -> Iterator[str]:
        """Every input, lists taken apart."""
        for reference in self.inputs.values():
            if isinstance(reference, str):
                yield reference
            else:
                yield from reference


class Difference(NamedTuple):
    """One place where two plans differ.

    Attributes:
        path: Dotted path: ``steps.split.parameters.seed``.
        before: The value in the first plan; None if it has none.
        after: The value in the second plan; None if it has none.
    """

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None and self.after is None:
            return f"~ {self.path}: None is written down in one of them"
        if self.before is None:
            return f"+ {self.path}: {self.after!r}"
        if self.after is None:
            return f"- {self.path}: {self.before!r}"
        return f"~ {self.path}: {self.before!r} -> {self.after!r}"


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """What ``pipeline.build()`` returns.

    Attributes:
        version: Version of the plan's layout.
        pipeline: The pipeline's name.
        kind: The pipeline's kind: base, training, data …
        orchestrator: The backend that runs the plan.
        steps: Steps by name, in an order in which they can run.
        code: Code closures by digest.
        git: The commit that the code was at, and whether files differed from it.
        import_roots: Folders, relative to the repository where they are inside it, from which the
            steps' modules are imported.
    """

    version: int  # without a default, so that it is always written down
    pipeline: str
    kind: str = "base"
    orchestrator: BackendConfig
    steps: dict[str, PlannedStep]
    code: dict[str, Closure] = {}
    git: GitState | None = None
    import_roots: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical plan: equal plans have equal digests."""
        return digest_of(self)

    @cached_property
    def encoded(self) -> bytes:
        """The plan as it is stored: JSON, with the steps in their order."""
        return msgspec.json.encode(self)

    def to_yaml(self) -> str:
        """The plan as YAML, for people and for version control."""
        from zenml.core._yaml import dump_yaml

        return dump_yaml(msgspec.to_builtins(self))

    @classmethod
    def from_yaml(cls, text: str, name: str = "plan") -> Plan:
        """Read a plan. Raises ``PlanError`` that lists every problem.

        Args:
            text: YAML, or JSON, which is YAML too.
            name: What to call it in messages, such as its file name.
        """
        from zenml.core.plan._read import read_plan

        return read_plan(text, name)

    def diff(self, other: Plan) -> list[Difference]:
        """Where ``other`` differs from this plan, by path."""
        before, after = msgspec.to_builtins(self), msgspec.to_builtins(other)
        return list(_differences(before, after, ""))

    def check_sources(self) -> None:
        """Compare the code that is found now with the code that the plan was made from.

        Reads the sources; never touches the working tree. Raises ``SourceChangedError``.
        """
        from zenml.core.plan._sources import check_sources

        check_sources(self)

    def __hash__(self) -> int:
        return hash(self.digest)


def _differences(before: Any, after: Any, path: str) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            deeper = f"{path}.{key}" if path else str(key)
            if key in before and key in after:
                yield from _differences(before[key], after[key], deeper)
            else:
                yield Difference(deeper, before.get(key), after.get(key))
    elif canonical(before) != canonical(after):
        yield Difference(path, before, after)
