"""Backends: how and where. Three kinds, one contract each.

A backend is a frozen settings object. It is made where a pipeline is written, recorded in a plan as
``{type, args}``, and made again wherever the plan runs; it holds no connection and no state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import msgspec

from zenml.core.contracts._settings import Settings
from zenml.core.contracts._units import MapContext, Unit

if TYPE_CHECKING:
    from zenml.core.contracts._job import JobBackend

__all__ = [
    "Backend",
    "BackendConfig",
    "BackendKind",
    "Check",
    "OrchestratorBackend",
    "PlanWork",
    "ProcessingBackend",
    "StepWork",
    "TrainingBackend",
]

BackendKind = Literal["orchestrator", "processing", "training"]


class BackendConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """A backend as plain data.

    Attributes:
        type: Registered type (``local``), or ``distribution:type`` where two plugins claim it.
        args: The backend's parameters.
    """

    type: str
    args: dict[str, Any] = {}


class Check(NamedTuple):
    """One line of a backend's ``check()``.

    Attributes:
        name: What was looked at.
        ok: Whether it is as it should be.
        detail: What was found.
        remedy: What to do if it is not.
    """

    name: str
    ok: bool
    detail: str = ""
    remedy: str | None = None


class Backend(Settings, ABC):
    """Base class of every backend: parameters, an online check, and what it must be allowed."""

    #: Set by the three kinds below.
    kind: ClassVar[BackendKind]

    def check(self) -> list[Check]:
        """Look whether the backend could work now: credentials, permissions, reachability.

        May use the network; never changes anything. The default has nothing to look at.
        """
        return []

    def permissions(self) -> str:
        """What whoever uses the backend must be allowed to do, for whoever may allow it.

        In the service's own format, such as a Role and its RoleBinding in YAML, with comments where
        a name has to be filled in. Offline. Empty by default: nothing is needed, or known.
        """
        return ""


class PlanWork(Protocol):
    """A plan to run: what an orchestrator is given."""

    @property
    def run_id(self) -> str:
        """The run's durable id; sorts by time."""

    @property
    def plan_digest(self) -> str:
        """The plan is ``plans/<digest>.json`` in the store."""

    @property
    def store_url(self) -> str:
        """The artifact store that holds the plan and takes the results."""

    def execute_here(self, *, max_parallel_steps: int | None = None) -> None:
        """Execute the plan in this process, to its end.

        Args:
            max_parallel_steps: How many independent steps may run at once; by default as many as
                there are processors, or 200 where each step is a job of its own.

        Raises:
            RunError: a step failed, or the run was cancelled. The record is complete either way.
        """

    def execute_as_job(self, backend: JobBackend) -> None:
        """Have a job of ``backend`` execute the plan, and see it to its end.

        Raises:
            RunError: a step failed, the run was cancelled, or the job failed.
        """


class StepWork(Protocol):
    """One trainer step to run: what a training backend is given."""

    @property
    def run_id(self) -> str:
        """The run that the step belongs to."""

    @property
    def step(self) -> str:
        """The step's name."""

    @property
    def key(self) -> str:
        """The step's cache key; ``cache/<key>.json`` is its commit."""

    def execute_here(self) -> None:
        """Execute and commit the step in this process. Raises what the step raised."""

    def execute_as_job(self, backend: JobBackend) -> None:
        """Have a job of ``backend`` execute and commit the step, and see it to its end.

        Raises:
            RunError: the step failed, the run was cancelled, or the job failed.
        """


class OrchestratorBackend(Backend):
    """Runs a plan. Met as ``pipeline.run(backend=…)``."""

    kind = "orchestrator"

    @abstractmethod
    def run(self, work: PlanWork) -> None:
        """Have the plan executed and wait for its end. Raises ``RunError`` if it did not succeed.

        ``KeyboardInterrupt`` reaches this method; it must not leave work behind.
        """

    def step_backend(self) -> JobBackend | None:
        """What carries each step as a job of its own; None: steps run in the engine's process.

        The engine then starts a job for every step that is not cached, and waits for them. Trainers
        whose training backend has jobs of its own keep that. Asked where the plan is sent from, and
        again wherever its engine stands: the answer depends on the parameters and nothing else.
        """
        return None

    def parallel_steps(self) -> int | None:
        """How many independent steps may run at once where the plan is sent to.

        None: as many as there are processors, or 200 where each step is a job of its own.
        """
        return None


class ProcessingBackend(Backend):
    """Maps units of work over workers. Met as ``step.with_backend(…)``."""

    kind = "processing"

    @abstractmethod
    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        """Execute every unit at least once; yield ``(index, result)`` in any order, each once.

        Workers call ``zenml.core.execute_unit(unit, context)``: data never travels through the
        engine, only units and small results do. Closing the iterator cancels what is outstanding.
        A unit's own exception ends the map and is raised as it is.
        """


class TrainingBackend(Backend):
    """Runs one trainer step on dedicated hardware. Met as ``trainer.with_backend(…)``."""

    kind = "training"

    @abstractmethod
    def train(self, work: StepWork) -> None:
        """Have the step executed and committed, and wait for its end."""
