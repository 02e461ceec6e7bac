"""Starts a run of a plan from a client, and sees it to its end."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any, NamedTuple

from zenml.core._backends import make_backend
from zenml.core.contracts._job import JobBackend
from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._as_job import SentCode
from zenml.core.engine._run import Run
from zenml.core.engine._session import Session
from zenml.core.errors import ConfigurationError, Problem, StoreError
from zenml.core.plan._model import Plan
from zenml.core.plugins._registry import Registry

__all__ = ["Prepared", "launch", "prepare"]


def launch(
    plan: Plan,
    *,
    registry: Registry,
    store: ArtifactStore,
    index: Any = None,
    progress: bool | None = None,
    detach: bool = False,
    code: SentCode | None = None,
    resumes: str = "",
) -> Run:
    """Run a plan and wait for its end; returns the finished run.

    Args:
        plan: What to do.
        registry: What is installed.
        store: Where results go.
        index: A metadata store that learns of the run, if any.
        progress: Whether to show how the steps stand; by default if standard error is a terminal.
        detach: Start the run and do not wait; only an orchestrator that uses jobs can.
        code: Code that was sent before and is to be used again; for an orchestrator that uses jobs.
        resumes: The run whose plan it takes up again.

    Raises:
        ConfigurationError: the run cannot be detached.
        RunError: a step failed, or the run was cancelled.
        StoreError: the store failed.
    """
    orchestrator = make_backend("orchestrator", plan.orchestrator, registry)
    show = sys.stderr.isatty() if progress is None else progress
    if show:
        from zenml.core.cli._progress import Progress

        display: Any = Progress(plan)
    else:
        display = nullcontext()
    session = Session(
        plan,
        store,
        registry,
        observers=[display] if show else [],
        code=code,
        orchestrator=orchestrator,
    )
    remote = isinstance(orchestrator, JobBackend)
    if detach and not remote:
        raise _runs_here("detach", "the run cannot be detached", plan)
    session.register(remote=remote, resumes=resumes)
    try:
        with display:
            if detach:
                session.start_as_job(orchestrator)
            else:
                orchestrator.run(session)
    finally:
        if index is not None:
            _learn(index, store, session.run_id)
    return Run(session.run_id, store)


class Prepared(NamedTuple):
    """A run that a service has not been asked for.

    Attributes:
        run: Its id.
        spec: What the service would be sent.
    """

    run: str
    spec: Any


def prepare(plan: Plan, *, registry: Registry, store: ArtifactStore) -> Prepared:
    """Store all that the job of a new run needs, as a submission does, and submit nothing.

    Raises:
        ConfigurationError: the plan runs in the client's process, or its code cannot be sent.
        StoreError: the store failed.
    """
    orchestrator = make_backend("orchestrator", plan.orchestrator, registry)
    if not isinstance(orchestrator, JobBackend):
        nothing = "the plan starts no job of its own, so there is nothing to render"
        raise _runs_here("render", nothing, plan)
    session = Session(plan, store, registry)
    session.register(remote=True)
    return Prepared(session.run_id, session.prepare_as_job(orchestrator))


def _runs_here(option: str, what: str, plan: Plan) -> ConfigurationError:
    problem = Problem(
        option,
        f"orchestrator '{plan.orchestrator.type}' runs the plan in this process",
        "choose an orchestrator that runs it elsewhere, such as 'subprocess'",
    )
    return ConfigurationError(what, [problem])


def _learn(index: Any, store: ArtifactStore, run_id: str) -> None:
    """Enter the run into the index, which can be rebuilt at any time and so never fails a run."""
    try:
        index.ingest(store, run_id)
    except StoreError as error:
        print(f"the index does not know run {run_id} yet: {error}", file=sys.stderr)
        print("  what to do: zenml repo reindex", file=sys.stderr)
