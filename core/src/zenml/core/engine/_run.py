"""A run as its record tells it; also one that another process, or another machine, executed."""

from __future__ import annotations

import atexit
from functools import cached_property
from typing import Any

from zenml.core.contracts._artifact import Artifact, Files
from zenml.core.contracts._settings import nearest
from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._as_job import SentCode, code_of
from zenml.core.engine._files import StoreFiles
from zenml.core.engine._records import (
    Outcome,
    RunStarted,
    RunStatus,
    StepRecord,
    read_events,
    read_outcome,
    read_plan,
    read_started,
    status_of,
)
from zenml.core.engine._values import load_value, read_artifact
from zenml.core.errors import ObjectNotFoundError, RunError
from zenml.core.plan._model import Plan
from zenml.core.plugins._registry import get_registry

__all__ = ["Run"]


class Run:
    """One execution of one plan.

    Attributes:
        id: The run's durable id.
        store: The artifact store that holds its record and its artifacts.
    """

    def __init__(self, run_id: str, store: ArtifactStore) -> None:
        self.id = run_id
        self.store = store

    @property
    def started(self) -> RunStarted:
        """Who started what, and when. Raises ``RunError`` if there is no such run."""
        try:
            return read_started(self.store, self.id)
        except ObjectNotFoundError as error:
            raise RunError(
                f"there is no run '{self.id}'",
                where=self.store.url,
                remedy="'zenml run list' shows the runs",
            ) from error

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while nobody has written that down."""
        return read_outcome(self.store, self.id)

    @property
    def status(self) -> RunStatus:
        """running, succeeded, failed, cancelled or lost."""
        return status_of(self.store, self.started, self.outcome)

    @property
    def plan(self) -> Plan:
        """The plan that it executes."""
        return read_plan(self.store, self.started.plan)

    @property
    def code(self) -> SentCode | None:
        """The code that its jobs were sent; None if it has no job."""
        return code_of(self.store, self.id)

    @property
    def steps(self) -> dict[str, StepRecord]:
        """The last thing that was recorded of each step, in the order in which they ended."""
        latest: dict[str, StepRecord] = {}
        for record in read_events(self.store, self.id):
            latest.pop(record.step, None)
            latest[record.step] = record
        return latest

    def artifact(self, reference: str) -> Artifact:
        """The artifact that a step made.

        Args:
            reference: ``step.output``, or ``step`` if it has one output.

        Raises:
            RunError: the run has no such step or output.
        """
        return read_artifact(self._digest(reference), self.store)

    def load(self, reference: str) -> Any:
        """The value that a step made; see ``artifact``."""
        return load_value(self.artifact(reference), self.files, get_registry())

    @cached_property
    def files(self) -> Files:
        """The bytes behind its artifacts, for what is loaded piece by piece."""
        files = StoreFiles(self.store)
        # A loaded value may be a path into it, so it lasts as long as the process.
        atexit.register(files.close)
        return files

    def _digest(self, reference: str) -> str:
        name, _, output = reference.partition(".")
        steps = self.steps
        if name not in steps:
            raise RunError(
                f"run {self.id} has no step '{name}'",
                remedy=nearest(name, steps) or f"it has: {', '.join(steps)}",
            )
        outputs = steps[name].outputs
        if not output and len(outputs) == 1:
            return next(iter(outputs.values()))
        if output not in outputs:
            raise RunError(
                f"step '{name}' ({steps[name].status}) made no output '{output}'",
                where=f"run {self.id}",
                remedy=nearest(output, outputs) or f"it made: {', '.join(outputs) or 'nothing'}",
            )
        return outputs[output]

    def __repr__(self) -> str:
        return f"Run({self.id!r})"
