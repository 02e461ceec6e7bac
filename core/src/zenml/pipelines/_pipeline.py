"""Pipelines: an ordered graph of steps over a datasource."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar

from zenml.core._tracebacks import shortened
from zenml.core.contracts import Artifact, ArtifactStore, Backend, Step
from zenml.core.contracts._settings import clip, nearest
from zenml.core.errors import (
    ConfigurationError,
    PipelineImmutableError,
    Problem,
    ZenMLError,
)
from zenml.core.plan import BackendChoice, Node, Plan, PlanBuilder
from zenml.core.plan._validate import name_problem
from zenml.core.sources import stop_if_importing
from zenml.pipelines._datasource import Datasource, committed_outputs

if TYPE_CHECKING:
    from typing_extensions import Self

    from zenml.core.engine._run import Run
    from zenml.repo import Repository

__all__ = ["Backends", "Pipeline", "StepReference"]

#: One backend of each kind: by kind, or as a sequence in any order.
Backends = Mapping[str, Backend | str] | Sequence[Backend]

_KINDS = ("orchestrator", "processing", "training")


#: How an input is given, for messages.
_INPUTS = "inputs={'name': 'step.output'}"


def own_copy(step: Step) -> Step:
    """A copy that nobody else can change. Backends are frozen and stay the same objects."""
    return copy.deepcopy(step, {id(step.backend): step.backend})


class StepReference(str):
    """The name of a step that was added; ``reference["output"]`` names one of its outputs."""

    __slots__ = ()

    def __getitem__(self, output: Any) -> str:
        return f"{self}.{output}" if isinstance(output, str) else super().__getitem__(output)


class Pipeline:
    """Steps of any kind, joined by the names of their inputs and outputs.

    ::

        pipeline = Pipeline(name="sums")
        pipeline.add_step(numbers(count=3))
        pipeline.add_step(total(), inputs={"values": "numbers"})
        run = pipeline.run()

    Args:
        name: The pipeline's name: runs of one name are compared with each other.
        enable_cache: Whether results of earlier runs may be used.
        backend: The orchestrator, or the name of a connected one.
        backends: Backends of several kinds, by kind or in any order; steps that were given none of
            their own use these.
        artifact_store: A store, or its URL; the repository's by default.
        metadata_store: An index, or its URL; the repository's by default.
        datasource: See ``add_datasource``.
        datasource_commit_id: See ``add_datasource``.
    """

    kind: ClassVar[str] = "base"

    _immutable = False
    _latest: Run | None = None

    def __init__(
        self,
        name: str | None = None,
        *,
        enable_cache: bool = True,
        backend: BackendChoice = None,
        backends: Backends | None = None,
        artifact_store: ArtifactStore | str | Path | None = None,
        metadata_store: Any = None,
        datasource: Datasource | None = None,
        datasource_commit_id: str | None = None,
    ) -> None:
        self.name = name if name is not None else self.kind
        self.enable_cache = enable_cache
        self.artifact_store = artifact_store
        self.metadata_store = metadata_store
        self._backends = _by_kind(backend, backends)
        self._nodes: list[Node] = []
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._datasource: Datasource | None = None
        self._commit_id: str | None = None
        if datasource is not None:
            self.add_datasource(datasource, datasource_commit_id)

    # -- writing ---------------------------------------------------------------------------------

    def add_datasource(self, datasource: Datasource, commit_id: str | None = None) -> Self:
        """Set where the rows come from.

        Args:
            datasource: The source; without a commit, a run takes a snapshot first, as a step.
            commit_id: A commit that ``datasource.commit()`` gave; the pipeline then reads that
                snapshot, whatever became of the source.
        """
        self._changing()
        if not isinstance(datasource, Datasource):
            raise ConfigurationError(
                "that is no datasource", [Problem("datasource", f"found {datasource!r}")]
            )
        self._datasource, self._commit_id = datasource, commit_id
        return self

    def add_step(
        self,
        step: Step,
        name: str | None = None,
        inputs: Mapping[str, str | Artifact | Sequence[str | Artifact]] | None = None,
    ) -> StepReference:
        """Add a step.

        Args:
            step: The step, with its backend if it has one of its own.
            name: Its name in this pipeline; by default the class's or function's, numbered if need
                be.
            inputs: Input name to ``"step"`` (its only output), ``"step.output"``, an artifact of
                an earlier run (``run.artifact("step.output")``, or ``"sha256:<digest>"``), or a
                list of these, whose values come as a list. An input that is not named is bound to
                the nearest earlier output of its name.

        Returns:
            The step's name, to be used in other steps' ``inputs``.
        """
        self._changing()
        if not isinstance(step, Step):
            called = getattr(step, "__name__", repr(step))
            hint = f"call it first: {called}(…)" if callable(step) else None
            raise ConfigurationError(
                "that is no step", [Problem("step", f"expected a step, found {step!r}", hint)]
            )
        chosen = name if name is not None else self._free_name(step.title)
        unfit = name_problem(chosen)
        if unfit:
            raise ConfigurationError("the step cannot be added", [Problem("name", unfit)])
        if not isinstance(inputs, (Mapping, NoneType)):
            found = Problem("inputs", f"expected a mapping, found {clip(inputs)}", _INPUTS)
            raise ConfigurationError("the step cannot be added", [found])
        named = {name: _named(value) for name, value in (inputs or {}).items()}
        self._nodes.append(Node(chosen, own_copy(step), named))
        self._taken.add(chosen)
        return StepReference(chosen)

    def _free_name(self, title: str) -> str:
        # Ten thousand steps of one function must not look at each other's names.
        name, number = title, self._numbers.get(title, 1)
        while name in self._taken:
            number += 1
            name = f"{title}_{number}"
        self._numbers[title] = number
        return name

    def _changing(self) -> None:
        if self._immutable:
            raise PipelineImmutableError(
                f"pipeline '{self.name}' has run and cannot be changed any more",
                remedy="change a copy: pipeline.copy('new name')",
            )

    def copy(self, new_name: str) -> Self:
        """A deep copy under another name; it may be changed, and shares nothing with this one."""
        made = copy.copy(self)
        # Stores are places, not parts of a pipeline; some hold connections, which have no copies.
        kept = (self.artifact_store, self.metadata_store, self._latest)
        made.__dict__.update(copy.deepcopy(self.__dict__, {id(one): one for one in kept}))
        made.__dict__.update(_immutable=False, _latest=None)
        made.name = new_name
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            self._changing()
        super().__setattr__(name, value)

    @property
    def steps(self) -> dict[str, Step]:
        """The steps by name, in the order in which they were added; copies of them after a run."""
        nodes = self._all_nodes()
        return {node.name: own_copy(node.step) if self._immutable else node.step for node in nodes}

    @property
    def datasource(self) -> Datasource | None:
        """Where the rows come from."""
        return self._datasource

    def _all_nodes(self) -> list[Node]:
        """The steps, the datasource's snapshot first."""
        if self._datasource is None or self._commit_id is not None:
            return list(self._nodes)
        return [Node("data", self._datasource, {}), *self._nodes]

    def _pinned(self, store: Callable[[], ArtifactStore]) -> dict[str, str]:
        """What the steps find by name beside each other's outputs: names to artifact digests."""
        if self._datasource is None or self._commit_id is None:
            return {}
        return committed_outputs(self._datasource.name, self._commit_id, store())

    def _missing(self) -> list[Problem]:
        """What this kind of pipeline cannot do without."""
        return []

    # -- planning and running --------------------------------------------------------------------

    def build(
        self,
        *,
        backend: BackendChoice = None,
        backends: Backends | None = None,
        artifact_store: ArtifactStore | str | Path | None = None,
    ) -> Plan:
        """Plan the pipeline. Runs nothing, needs no network.

        Args:
            backend: The orchestrator; goes before the one given to the constructor.
            backends: Backends by kind; go before those given to the constructor.
            artifact_store: Where committed snapshots are looked up.

        Raises:
            PlanError: lists every problem, each with its path.
        """
        stop_if_importing(self, backend=backend, backends=backends, artifact_store=artifact_store)
        from zenml.repo import Repository

        try:
            return self._build(Repository.get_instance(), backend, backends, artifact_store)
        except ZenMLError as error:
            raise shortened(error)  # noqa: B904 - it is the same error

    def _build(
        self,
        repository: Repository,
        backend: BackendChoice,
        backends: Backends | None,
        artifact_store: ArtifactStore | str | Path | None,
    ) -> Plan:
        def store() -> ArtifactStore:
            return repository.open_artifact_store(artifact_store or self.artifact_store)

        builder = PlanBuilder(
            root=repository.root,
            registry=repository.registry,
            connections=repository.config.backends,
            backends={**self._backends, **_by_kind(backend, backends)},
        )
        return builder.build(
            name=self.name,
            kind=self.kind,
            nodes=self._all_nodes(),
            pinned=self._pinned(store),
            enable_cache=self.enable_cache,
            missing=self._missing(),
        )

    def run(
        self,
        backend: BackendChoice = None,
        *,
        backends: Backends | None = None,
        artifact_store: ArtifactStore | str | Path | None = None,
        metadata_store: Any = None,
        progress: bool | None = None,
        detach: bool = False,
    ) -> Run:
        """Plan the pipeline, run it and wait for its end.

        Args:
            backend: The orchestrator; goes before the one given to the constructor.
            backends: Backends by kind; go before those given to the constructor.
            artifact_store: Where results go; goes before the one given to the constructor.
            metadata_store: The index that learns of the run.
            progress: Whether to show on standard error how the steps stand; by default if that is a
                terminal.
            detach: Start the run and do not wait for it; only an orchestrator that uses jobs can.

        Returns:
            The finished run.

        Raises:
            PlanError: the pipeline cannot be planned; nothing was written.
            RunError: a step failed or the run was cancelled; finished steps are kept.
            StoreError: the artifact store failed; what was committed before is safe.
        """
        stop_if_importing(self, backend=backend, backends=backends, artifact_store=artifact_store)
        try:
            return self._run(
                backend, backends, artifact_store, metadata_store, progress, detach=detach
            )
        except ZenMLError as error:
            raise shortened(error)  # noqa: B904 - it is the same error

    def _run(
        self,
        backend: BackendChoice,
        backends: Backends | None,
        artifact_store: ArtifactStore | str | Path | None,
        metadata_store: Any,
        progress: bool | None,
        *,
        detach: bool,
    ) -> Run:
        from zenml.core.engine._launch import launch
        from zenml.repo import Repository

        repository = Repository.get_instance()
        chosen = artifact_store if artifact_store is not None else self.artifact_store
        plan = self._build(repository, backend, backends, chosen)
        self._immutable = True
        self._latest = launch(
            plan,
            registry=repository.registry,
            store=repository.open_artifact_store(chosen),
            index=repository.open_metadata_store(
                metadata_store or self.metadata_store or repository.config.metadata_store
            ),
            progress=progress,
            detach=detach,
        )
        return self._latest

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, steps: {', '.join(self.steps) or 'none'})"


def _named(value: Any) -> Any:
    """An input as a plan writes it: artifacts by their digests."""
    if isinstance(value, Artifact):
        return f"sha256:{value.digest}"
    return [_named(item) for item in value] if isinstance(value, (list, tuple)) else value


def _by_kind(backend: BackendChoice, backends: Backends | None) -> dict[str, BackendChoice]:
    """Backends by kind, checked; ``backend`` is the orchestrator."""
    found: dict[str, BackendChoice] = {}
    problems: list[Problem] = []
    given: list[tuple[str, Any]]
    if isinstance(backends, Mapping):
        given = list(backends.items())
    elif isinstance(backends, (str, Backend, type)):
        raise ConfigurationError(
            "these backends cannot be used",
            [Problem("backends", f"expected several, found {clip(backends)}", "put it in a list")],
        )
    else:
        given = [(getattr(item, "kind", "?"), item) for item in backends or ()]
    if backend is not None:
        given.append(("orchestrator", backend))
    for kind, item in given:
        actual = item.kind if isinstance(item, Backend) else kind
        if not isinstance(item, (Backend, str)):
            hint = f"call it: {item.__name__}(…)" if isinstance(item, type) else None
            problems.append(Problem("backends", f"expected a backend, found {clip(item)}", hint))
        elif kind not in _KINDS:
            hint = nearest(str(kind), _KINDS) or f"there are: {', '.join(_KINDS)}"
            problems.append(Problem(f"backends.{kind}", "no such kind of backend", hint))
        elif actual != kind:
            problems.append(
                Problem(
                    "backend" if item is backend else f"backends.{kind}",
                    f"expected {kind}, found {type(item).__name__}, which is of kind {actual}",
                    f"pass it as backends={{{actual!r}: …}}, or to a step with with_backend()",
                )
            )
        elif found.get(kind) is not None and item is not backend:
            problems.append(Problem(f"backends.{kind}", "was given twice"))
        else:
            found[kind] = item
    if problems:
        raise ConfigurationError("these backends cannot be used", problems)
    return found
