"""Takes up the plan of a run that did not succeed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zenml.core.bundle import archive_key
from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._as_job import SentCode, code_of, end_jobs, say
from zenml.core.engine._launch import launch
from zenml.core.engine._run import Run
from zenml.core.errors import PlanError, RunError, SourceChangedError, SourceError
from zenml.core.plan._model import Plan
from zenml.core.plan._usable import check_usable
from zenml.core.plugins._registry import Registry

__all__ = ["resume"]

#: Seconds that what is left of the earlier run is given to stop by itself.
_GRACE = 10.0


def resume(
    run: Run,
    *,
    registry: Registry,
    index: Any = None,
    progress: bool | None = None,
    detach: bool = False,
    tell: Callable[[str], None] = say,
) -> Run:
    """Start a new run of the plan of ``run``; its finished steps are found in the cache.

    A plan that was sent to a job runs with the code that was sent then, wherever this is called. A
    plan that runs in this process needs its code here, as it was.

    Args:
        run: A run that failed, was cancelled or was lost.
        registry: What is installed.
        index: A metadata store that learns of the new run, if any.
        progress: See ``launch``.
        detach: See ``launch``.
        tell: Told in words what is done.

    Raises:
        RunError: the run is still going on, or succeeded; or a step of the new one failed.
        SourceError: the plan needs code that is not here as it was.
    """
    status, store = run.status, run.store
    if status == "running":
        raise RunError(
            f"run {run.id} is still going on",
            remedy=f"wait for it with 'zenml run attach {run.id}', "
            f"or end it with 'zenml run cancel {run.id}' first",
        )
    if status == "succeeded":
        raise RunError(
            f"run {run.id} succeeded, so there is nothing to resume",
            remedy="run the pipeline again: what has not changed is found in the cache",
        )
    plan = run.plan
    code = _code_to_use(plan, run, tell)
    if code is None:
        _check_here(plan, run, registry)
    # Nothing of a run that was lost may go on beside the one that takes its place.
    end_jobs(store, registry, run.id, _GRACE, tell)
    kept = sum(record.status in ("succeeded", "cached") for record in run.steps.values())
    tell(
        f"resuming run {run.id}, which {_WAS[status]}, as a new run of plan {plan.digest[:12]}: "
        f"{kept} of {len(plan.steps)} steps were finished"
    )
    return launch(
        plan,
        registry=registry,
        store=store,
        index=index,
        progress=progress,
        detach=detach,
        code=code,
        resumes=run.id,
    )


_WAS = {"failed": "failed", "cancelled": "was cancelled", "lost": "was lost"}


def _code_to_use(plan: Plan, run: Run, tell: Callable[[str], None]) -> SentCode | None:
    """The code that the plan's job was sent, if it is still there."""
    if not run.started.remote:
        return None
    code = code_of(run.store, run.id)
    if code is None or not _is_there(run.store, code):
        return None
    try:
        plan.check_sources()
    except SourceChangedError as error:
        what = f"the code here is not that of run {run.id} any more ({error.where})"
        tell(f"{what}: the code that it was started with is used; {_AFRESH}")
    except SourceError:
        tell(f"the code of run {run.id} is not here: the code that it was started with is used")
    return code


_AFRESH = "to use what is here, run the pipeline again: finished steps that did not change are kept"


def _is_there(store: ArtifactStore, code: SentCode) -> bool:
    return code.digest is None or store.exists(archive_key(code.digest))


def _check_here(plan: Plan, run: Run, registry: Registry) -> None:
    try:
        plan.check_sources()
        check_usable(plan, registry)
    except SourceChangedError as error:
        git = plan.git
        restore = f"check out commit {git.commit[:12]}, or " if git and not git.dirty else ""
        raise SourceChangedError(
            f"run {run.id} cannot be resumed here: {error.message}",
            where=error.where,
            remedy=f"{restore}run the pipeline again: finished steps that did not change are kept",
        ) from error
    except (SourceError, PlanError) as error:
        raise RunError(
            f"run {run.id} cannot be resumed here: {error}",
            remedy="resume it where its code is, or run the pipeline again",
        ) from error
