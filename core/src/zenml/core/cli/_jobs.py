"""``zenml run logs``, ``cancel``, ``wait``, ``attach`` and ``resume``: runs of other clients."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout

import click

from zenml.core.cli._output import echo
from zenml.core.contracts import ArtifactStore
from zenml.core.engine._as_job import attach as attach_to
from zenml.core.engine._as_job import cancel_run
from zenml.core.engine._lookup import find_run
from zenml.core.engine._run import Run
from zenml.core.errors import RunCancelledError, StepFailedError
from zenml.core.jobs import JobFailedError, job_folders
from zenml.core.jobs._log import read_log
from zenml.repo import Repository

__all__ = ["COMMANDS"]

_STORE = click.option("--store", "store_url", help="Artifact store; the repository's by default.")


def _open(run_id: str, store_url: str | None) -> tuple[Repository, ArtifactStore, Run]:
    repository = Repository.get_instance()
    store = repository.open_artifact_store(store_url)
    return repository, store, find_run(run_id, store)


@click.command()
@click.argument("run_id", metavar="RUN")
@_STORE
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
def logs(run_id: str, store_url: str | None, follow: bool) -> None:
    """Print what the jobs of a RUN have printed. RUN may be shortened, or 'last'."""
    _, store, found = _open(run_id, store_url)
    seen: dict[str, str] = {}
    while True:
        ended = found.status != "running"
        for text in _new_text(store, found.id, seen):
            echo(text.rstrip("\n"))
        if ended or not follow:
            break
        threading.Event().wait(1.0)
    if not job_folders(store, found.id):
        echo(f"run {found.id} has no job: what it printed went to the terminal that started it")


def _new_text(store: ArtifactStore, run_id: str, seen: dict[str, str]) -> Iterator[str]:
    """Chunks that were not seen yet, job by job and attempt by attempt."""
    for folder in job_folders(store, run_id):
        attempts = {
            found.key.rpartition("/")[0]
            for found in store.list(f"{folder}/")
            if found.key.endswith("/task.json")
        }
        for attempt in sorted(attempts):
            for key, text in read_log(store, attempt, seen.get(attempt)):
                seen[attempt] = key
                yield text


@click.command()
@click.argument("run_id", metavar="RUN")
@_STORE
@click.option("--grace", default=10.0, show_default=True, help="Seconds to stop by itself.")
def cancel(run_id: str, store_url: str | None, grace: float) -> None:
    """End a RUN and every job of it, from any machine. RUN may be shortened, or 'last'."""
    repository, store, found = _open(run_id, store_url)
    if found.outcome is not None:
        echo(f"run {found.id} has ended already: {found.status}")
        return
    # Seen to its end, so that the run has an outcome even if nobody else waits for it.
    with contextlib.suppress(RunCancelledError, JobFailedError, StepFailedError):
        cancel_run(store, repository.registry, found.id, grace)
    echo(f"run {found.id} is {found.status}")


@click.command()
@click.argument("run_id", metavar="RUN")
@_STORE
def attach(run_id: str, store_url: str | None) -> None:
    """Wait for a RUN and show its steps; Ctrl-C cancels it. RUN may be shortened, or 'last'.

    Fails if the run fails.
    """
    from zenml.core.cli._progress import Progress

    repository, store, found = _open(run_id, store_url)
    display = Progress(found.plan)
    with display:
        attach_to(store, repository.registry, found.id, [display])
    repository.metadata_store.ingest(store, found.id)
    echo(f"run {found.id} {found.status}")


@click.command()
@click.argument("run_id", metavar="RUN")
@_STORE
def wait(run_id: str, store_url: str | None) -> None:
    """Wait for a RUN; Ctrl-C cancels it. RUN may be shortened, or 'last'.

    Fails if the run fails.
    """
    repository, store, found = _open(run_id, store_url)
    attach_to(store, repository.registry, found.id)
    repository.metadata_store.ingest(store, found.id)
    echo(f"run {found.id} {found.status}")


@click.command()
@click.argument("run_id", metavar="RUN")
@_STORE
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--detach", is_flag=True, help="Start the new run and leave it.")
def resume(run_id: str, store_url: str | None, quiet: bool, detach: bool) -> None:
    """Take up a RUN that failed, was cancelled or was lost. RUN may be shortened, or 'last'.

    Starts a new run of the same plan with the same orchestrator; finished steps are kept. A plan
    that ran in a job runs with the code that it was started with, from any machine that reaches the
    store; one that ran in the client's process needs that code here.
    """
    from zenml.core.engine._resume import resume as resume_run

    repository, _, found = _open(run_id, store_url)
    # The plan's scripts must not take our arguments for theirs.
    sys.argv = [found.started.pipeline]
    with redirect_stdout(sys.stderr):
        done = resume_run(
            found,
            registry=repository.registry,
            index=repository.metadata_store,
            progress=not quiet,
            detach=detach,
        )
    if detach:
        echo(f"run {done.id} goes on; zenml run attach {done.id}")
    else:
        echo(f"run {done.id} {done.status}")


COMMANDS = (attach, cancel, logs, resume, wait)
