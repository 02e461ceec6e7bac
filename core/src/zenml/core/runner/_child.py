"""The child: does the work of a task, in a process that may be killed by it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from zenml.core._backends import make_backend
from zenml.core.contracts._backend import OrchestratorBackend
from zenml.core.contracts._job import Failure
from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._as_job import SentCode
from zenml.core.engine._records import read_plan
from zenml.core.engine._session import Session
from zenml.core.engine._steps import StepRunner, failure_of
from zenml.core.errors import (
    ConfigurationError,
    IntegrityError,
    StepFailedError,
    StoreError,
    ZenMLError,
)
from zenml.core.jobs._task import Task
from zenml.core.plan._model import Plan
from zenml.core.plugins._registry import Registry, get_registry
from zenml.core.stores._open import open_store

__all__ = ["UNTOLD", "Report", "main"]

#: The child's exit code if it cannot write its report, such as for want of space.
UNTOLD = 74


class Report(msgspec.Struct, frozen=True):
    """What the child tells its supervisor before it ends.

    Attributes:
        failure: Why it failed; None if it succeeded.
    """

    failure: Failure | None


def main(store_url: str, task: Task, attempt: int, report_path: str, workspace: str) -> int:
    """Do the task; write a report; return the exit code."""
    failure: Failure | None = None
    try:
        _work(store_url, task, attempt, Path(workspace))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the client must hear of it
        root = error.__cause__ if isinstance(error, StepFailedError) and error.__cause__ else error
        failure = failure_of(root)
        if isinstance(error, ConfigurationError):
            failure = msgspec.structs.replace(failure, cause="CONFIG")
        if not isinstance(root, ZenMLError):
            traceback.print_exception(root)
        print(f"error: {error}", file=sys.stderr, flush=True)
    draft = f"{report_path}.draft"
    try:
        with open(draft, "wb") as file:
            file.write(msgspec.json.encode(Report(failure)))
        os.replace(draft, report_path)
    except OSError as error:
        print(f"error: how the work ended cannot be told: {error}", file=sys.stderr, flush=True)
        return UNTOLD
    return 0 if failure is None else 1


def _work(store_url: str, task: Task, attempt: int, workspace: Path) -> None:
    from zenml.core.bundle import refuse_mismatches

    store = open_store(store_url)
    if task.code is not None:
        folder = _unpacked(store, task.code, workspace / "code")
        # User code goes first: nothing that the image happens to hold may shadow it.
        sys.path.insert(0, str(folder))
        os.chdir(folder)
    else:
        os.chdir(workspace)
    refuse_mismatches(task.requires)
    plan = read_plan(store, task.plan)
    plan.check_sources()
    registry = get_registry()
    if task.step is None:
        session = Session(
            plan,
            store,
            registry,
            run_id=task.run,
            attempt=attempt,
            code=SentCode(task.code, task.requires, plan.git),
            # Asked for steps only where it has jobs for them: elsewhere it may not be installed.
            orchestrator=_orchestrator(plan, registry) if task.steps_as_jobs else None,
        )
        session.execute_here(max_parallel_steps=task.max_parallel_steps)
        return
    runner = StepRunner(
        plan=plan, run_id=task.run, store=store, registry=registry, cancel=threading.Event()
    )
    runner.execute(task.step, task.inputs, task.key, own_backend=task.own_backend)


def _orchestrator(plan: Plan, registry: Registry) -> OrchestratorBackend:
    made: OrchestratorBackend = make_backend("orchestrator", plan.orchestrator, registry)
    return made


def _unpacked(store: ArtifactStore, digest: str, target: Path) -> Path:
    """The folder with the code; an archive that is damaged, and not only on its way, goes."""
    from zenml.core.bundle import archive_key, unpack

    with contextlib.suppress(IntegrityError):
        return unpack(store, digest, target)
    try:
        return unpack(store, digest, target)
    except IntegrityError:
        # Whoever sends the code again sends it only where there is none.
        with contextlib.suppress(StoreError):
            store.delete(archive_key(digest))
        raise
