"""Whole pipelines as Jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta

from zenml.core import Job, JobBackend, JobOrchestratorBackend
from zenml.core.errors import ConfigurationError, Problem
from zenml.k8s._jobs import KubernetesJobs
from zenml.k8s._options import KubernetesOptions

__all__ = ["OrchestratorKubernetesBackend"]


class OrchestratorKubernetesBackend(KubernetesJobs, JobOrchestratorBackend):
    """Runs a pipeline as a Job, or each of its steps as one.

    Args:
        isolation: ``pipeline``: one Job runs the plan. ``step``: one Job, the driver, runs the plan
            and starts a Job for each step; independent steps at the same time.
        max_parallel_steps: How many steps may run at once; by default as many as the pod has
            processors, and 200 where each has a pod of its own.
        steps: What is otherwise for the Job of a step, by the step's name, such as
            ``{"train": {"memory": "16Gi", "gpus": 1}}``; for ``isolation="step"``.
    """

    isolation: Literal["pipeline", "step"] = "pipeline"
    max_parallel_steps: Annotated[int, Meta(ge=1)] | None = None
    steps: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - copied for each backend

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """A driver needs rights, and steps of their own need pods of their own."""
        yield from super().validate()
        if self.isolation == "step" and self.service_account is None:
            yield Problem(
                "service_account",
                "is needed by isolation='step': the driver asks the API server for Jobs",
                "name one; 'zenml backend permissions' prints the Role that it needs",
            )
        if self.steps and self.isolation != "step":
            yield "steps", "is of use with isolation='step', where each step has a pod of its own"
        for step, changes in self.steps.items():
            unknown = changes.keys() - KubernetesOptions.fields().keys()
            if unknown:
                yield f"steps.{step}", f"no such parameters of a pod: {', '.join(sorted(unknown))}"
                continue
            try:
                self.replace(steps={}, **changes)
            except ConfigurationError as error:
                yield from (problem.within(f"steps.{step}") for problem in error.problems)

    def step_backend(self) -> JobBackend | None:
        """This one, if each step is to have a Job."""
        return self if self.isolation == "step" else None

    def render(self, job: Job) -> dict[str, Any]:
        """The Job's manifest: what ``submit`` sends, and what ``kubectl apply`` takes."""
        changes = self.steps.get(job.step) if job.step is not None else None
        if changes:
            return self.replace(steps={}, **changes).render(job)
        return super().render(job)

    def parallel_steps(self) -> int | None:
        """How many steps may run at once."""
        return self.max_parallel_steps
