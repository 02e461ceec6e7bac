"""What a metadata store answers. It is an index: everything in it is in the artifact store too."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from zenml.core import ArtifactStore
from zenml.core.engine._records import RunStatus, StepRecord

__all__ = ["IndexedRun", "IndexedStep", "MetadataStore"]


class IndexedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as the index knows it.

    Attributes:
        run: Its id.
        pipeline: The pipeline's name.
        plan: Digest of the plan.
        orchestrator: Type of the orchestrator.
        started: When, in UTC, ISO 8601.
        status: running, succeeded, failed, cancelled or lost.
        seconds: How long it took; 0 while it goes on.
        steps: How many steps have ended.
        cached: How many of them were served from the cache.
    """

    run: str
    pipeline: str
    plan: str
    orchestrator: str
    started: str
    status: RunStatus
    seconds: float
    steps: int
    cached: int


class IndexedStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of one run, as the index knows it."""

    run: str
    pipeline: str
    plan: str
    record: StepRecord


class MetadataStore(ABC):
    """A queryable index over the run logs of artifact stores.

    It can be deleted at any time: ``ingest`` fills it again. Reading the same log twice changes
    nothing.
    """

    @abstractmethod
    def ingest(self, store: ArtifactStore, run_id: str | None = None) -> int:
        """Read what is new in the run logs; returns how many runs were read.

        Args:
            store: The artifact store that holds the logs.
            run_id: Only this run.
        """

    @abstractmethod
    def reindex(self, store: ArtifactStore) -> int:
        """Forget what is known of a store and read all of it; returns the number of runs."""

    @abstractmethod
    def runs(
        self, store: ArtifactStore, *, pipeline: str | None = None, limit: int = 50
    ) -> list[IndexedRun]:
        """The latest runs, newest first."""

    @abstractmethod
    def last_step(
        self, store: ArtifactStore, pipeline: str, step: str, *, before: str | None = None
    ) -> IndexedStep | None:
        """The latest record of a step that ran or was served from the cache.

        Args:
            store: The artifact store that holds the logs.
            pipeline: The pipeline's name.
            step: The step's name.
            before: Only runs older than this one.
        """
