"""The orchestrator that runs a pipeline where it was started."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from zenml.core import OrchestratorBackend, PlanWork

__all__ = ["OrchestratorBaseBackend", "OrchestratorLocalBackend"]


class OrchestratorLocalBackend(OrchestratorBackend):
    """Runs a pipeline in this process; independent steps run at the same time.

    Args:
        max_parallel_steps: How many independent steps may run at once; by default as many as there
            are processors.
    """

    max_parallel_steps: Annotated[int, Meta(ge=1)] | None = None

    def run(self, work: PlanWork) -> None:
        work.execute_here(max_parallel_steps=self.max_parallel_steps)


#: The name under which the first ZenML knew it.
OrchestratorBaseBackend = OrchestratorLocalBackend
