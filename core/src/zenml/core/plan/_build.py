"""Turns what an author wrote into a plan. Works offline; imports no SDK and runs no step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zenml.core._backends import DEFAULT_TYPE, config_of, make_backend, offer_of, problems_of
from zenml.core._canonical import canonical, check_plain, from_json
from zenml.core._project import Connection
from zenml.core._secrets import literal_secrets
from zenml.core.contracts._backend import Backend, BackendConfig, BackendKind
from zenml.core.contracts._settings import clip, nearest
from zenml.core.contracts._step import Step
from zenml.core.errors import (
    BackendError,
    ConfigurationError,
    PlanError,
    Problem,
    SourceError,
)
from zenml.core.plan._model import INPUT, PLAN_VERSION, Plan, PlannedStep
from zenml.core.plan._validate import graph_problems, in_order
from zenml.core.plugins._registry import Registry
from zenml.core.sources import (
    Closure,
    closure_of,
    git_state,
    import_roots,
    reference,
    refuse_edited,
)
from zenml.core.sources._locate import editable_roots, is_installed

__all__ = ["BackendChoice", "Node", "PlanBuilder"]

BackendChoice = Backend | str | None

#: How many outputs a message names.
_SHOWN = 6


class Node(NamedTuple):
    """A step as its author added it.

    Attributes:
        name: Its name in the pipeline.
        step: The step.
        inputs: Input name to ``step``, ``step.output``, ``sha256:…`` or a list of these. The others
            are bound by name.
    """

    name: str
    step: Step
    inputs: Mapping[str, str | Sequence[str]]


class PlanBuilder:
    """Builds one plan, and collects everything that is wrong on the way."""

    def __init__(
        self,
        *,
        root: Path,
        registry: Registry,
        connections: Mapping[str, Connection],
        backends: Mapping[str, BackendChoice],
    ) -> None:
        self.root = root
        self.registry = registry
        self.connections = connections
        self.backends = backends
        self.problems: list[Problem] = []
        self.code: dict[str, Closure] = {}
        self.roots: set[str] = set()
        self._is_whole = True
        self._sources: dict[int, tuple[str, str] | None] = {}
        self._configs: dict[tuple[str, int], BackendConfig] = {}
        self._keep: list[Any] = []

    def build(
        self,
        *,
        name: Any,
        kind: str,
        nodes: Sequence[Node],
        pinned: Mapping[str, str],
        enable_cache: bool,
        missing: Sequence[Problem] = (),
    ) -> Plan:
        """Build the plan. Raises ``PlanError`` that lists every problem.

        Args:
            name: The pipeline's name.
            kind: The pipeline's kind.
            nodes: The steps, as they were added.
            pinned: Output name to the digest of an artifact that exists already, such as a
                committed snapshot; they are found by name after the outputs of steps.
            enable_cache: Whether cached results may be used.
            missing: What the pipeline lacks; inputs that nothing gives are no further problems
                then.
        """
        self.problems += missing
        self._is_whole = not missing
        if not isinstance(name, str) or not name.strip():
            self.problems.append(Problem("name", f"found {name!r}", "give the pipeline a name"))
        orchestrator = self._backend("orchestrator", self.backends.get("orchestrator"), "backend")
        planned: dict[str, PlannedStep] = {}
        visible: dict[str, str] = {output: f"sha256:{digest}" for output, digest in pinned.items()}
        singles = {node.name: tuple(node.step.outputs) for node in nodes}
        for node in nodes:
            if node.name in planned:
                self.problems.append(Problem(f"steps.{node.name}", "there are two of that name"))
                continue
            step = self._step(node, visible, singles, enable_cache)
            if step is not None:
                planned[node.name] = step
            for output in node.step.outputs:
                visible[output] = f"{node.name}.{output}"
        if not self.problems or planned:
            self.problems += graph_problems(planned)
        if self.problems:
            raise PlanError(f"pipeline '{name}' cannot be planned", self.problems)
        return Plan(
            version=PLAN_VERSION,
            pipeline=name,
            kind=kind,
            orchestrator=orchestrator,
            steps=in_order(planned),
            code=dict(sorted(self.code.items())),
            git=git_state(self.root),
            import_roots=tuple(sorted(self.roots)),
        )

    # -- parts -----------------------------------------------------------------------------------

    def _step(
        self,
        node: Node,
        visible: Mapping[str, str],
        singles: Mapping[str, tuple[str, ...]],
        enable_cache: bool,
    ) -> PlannedStep | None:
        path = f"steps.{node.name}"
        step = node.step
        source = self._source(step, path)
        parameters = self._parameters(step, path)
        if isinstance(step.outputs, str):
            problem = f"expected several names, found {step.outputs!r}"
            self.problems.append(Problem(f"{path}.outputs", problem, f"({step.outputs!r},)"))
        choice = step.backend if step.backend is not None else self.backends.get(step.kind)
        backend = self._backend(step.kind, choice, f"{path}.backend")
        inputs = self._inputs(node, visible, singles, path)
        if source is None:
            return None
        return PlannedStep(
            source=source[0],
            code=source[1],
            kind=step.kind,
            backend=backend,
            parameters=parameters,
            inputs=inputs,
            outputs=tuple(step.outputs),
            unkeyed=tuple(sorted(step.unkeyed)),
            external=type(step).fingerprint is not Step.fingerprint,
            cache=enable_cache,
        )

    def _parameters(self, step: Step, path: str) -> dict[str, Any]:
        unfit: str | None
        try:
            parameters = step.parameters()
            unfit = check_plain(parameters)
        except TypeError as error:
            unfit = str(error)
        if unfit:
            self.problems.append(Problem(f"{path}.parameters", unfit, "pass plain data"))
            return {}
        for name, value in parameters.items():
            # Inside a parameter, names are the user's own: of columns, for instance.
            if isinstance(value, str):
                found = literal_secrets(value, name)
                self.problems += [problem.within(path) for problem in found]
        # As they read back: a tuple is a list, whether the plan was stored in between or not.
        read_back: dict[str, Any] = from_json(canonical(parameters))
        return read_back

    def _source(self, step: Step, path: str) -> tuple[str, str] | None:
        maker = step.source_object()
        if id(maker) not in self._sources:
            self._keep.append(maker)  # an id means nothing once its object is gone
            self._sources[id(maker)] = self._read_source(maker, path)
        return self._sources[id(maker)]

    def _read_source(self, maker: Any, path: str) -> tuple[str, str] | None:
        try:
            name = reference(maker)
            closure = closure_of(maker, name)
            refuse_edited(maker, name)
        except SourceError as error:
            where = f" ({error.where})" if error.where else ""
            self.problems.append(Problem(f"{path}.source", error.message + where, error.remedy))
            return None
        digest = closure.digest
        self.code[digest] = closure
        self._add_roots(maker)
        return name, digest

    def _add_roots(self, obj: Any) -> None:
        for root in import_roots(obj):
            if not is_installed(os.path.join(root, "module.py")) and root not in editable_roots():
                self.roots.add(self._relative(root))

    def _relative(self, folder: str) -> str:
        # Inside the repository paths are relative, so that a plan is the same in every clone.
        relative = os.path.relpath(folder, self.root)
        return folder if relative.startswith("..") else relative.replace(os.sep, "/")

    def _inputs(
        self,
        node: Node,
        visible: Mapping[str, str],
        singles: Mapping[str, tuple[str, ...]],
        path: str,
    ) -> dict[str, str | list[str]]:
        wanted = node.step.signature().inputs
        bound: dict[str, str | list[str]] = {}
        for name, value in node.inputs.items():
            if name not in wanted:
                remedy = nearest(name, wanted) or f"it takes: {', '.join(wanted) or 'none'}"
                self.problems.append(Problem(f"{path}.inputs.{name}", "no such input", remedy))
            elif isinstance(value, str):
                bound[name] = _complete(value, singles)
            elif isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
                bound[name] = [_complete(item, singles) for item in value]
            else:
                self.problems.append(
                    Problem(
                        f"{path}.inputs.{name}",
                        f"expected 'step', 'step.output' or a list of these, found {clip(value)}",
                        "a fixed value is a parameter: give it when the step is made",
                    )
                )
        for name, required in wanted.items():
            if name in node.inputs:
                continue
            if name in visible:
                bound[name] = visible[name]
            elif required and self._is_whole:
                latest = list(visible.items())[-_SHOWN:]
                have = ", ".join(f"{output} ({clip(ref)})" for output, ref in latest) or "nothing"
                have = f"…, {have}" if len(visible) > _SHOWN else have
                self.problems.append(
                    Problem(
                        f"{path}.inputs.{name}",
                        "no earlier step has an output of that name, and the call gives no value",
                        nearest(name, visible)
                        or f"bind it with inputs={{{name!r}: 'step.output'}}; there is: {have}",
                    )
                )
        return bound

    def _backend(self, kind: BackendKind, choice: BackendChoice, path: str) -> BackendConfig:
        # Ten thousand steps share a handful of backends.
        key = (kind, id(choice))
        if key not in self._configs:
            self._keep.append(choice)
            try:
                self._configs[key] = self._resolve(kind, choice, path)
            except (BackendError, ConfigurationError, SourceError) as error:
                if isinstance(error, SourceError):
                    self.problems.append(Problem(path, error.message, error.remedy))
                else:
                    self.problems += problems_of(error, path)
                return BackendConfig(type=DEFAULT_TYPE)
        return self._configs[key]

    def _resolve(self, kind: BackendKind, choice: BackendChoice, path: str) -> BackendConfig:
        if isinstance(choice, Backend):
            if choice.kind != kind:
                problem = Problem(
                    "", f"expected {kind}, found {type(choice).__name__} ({choice.kind})"
                )
                raise ConfigurationError("wrong kind of backend", [problem])
            config = config_of(choice, self.registry)
            secrets = literal_secrets(config.args, "")
            if secrets:
                raise ConfigurationError("a secret would be written down", secrets)
            if offer_of(type(choice), self.registry) is None:
                self._add_roots(type(choice))
            return config
        if choice is None:
            config = BackendConfig(type=DEFAULT_TYPE)
        elif choice in self.connections:
            connection = self.connections[choice]
            if connection.kind != kind:
                problem = Problem("", f"expected {kind}, found '{choice}' ({connection.kind})")
                raise ConfigurationError("wrong kind of backend", [problem])
            config = connection.config
        else:
            config = BackendConfig(type=choice)
        # Made once here so that wrong parameters are found before anything runs.
        return config_of(make_backend(kind, config, self.registry), self.registry)


def _complete(value: str, singles: Mapping[str, tuple[str, ...]]) -> str:
    """``step`` means the step's only output."""
    value = str(value)
    if INPUT.fullmatch(value) or value not in singles:
        return value
    outputs = singles[value]
    return f"{value}.{outputs[0]}" if len(outputs) == 1 else value
