"""``zenml run logs``, ``cancel``, ``wait`` and ``attach``: runs that go on elsewhere."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import click

from zenml.core.cli._output import echo
from zenml.core.cli._runs import find_run
from zenml.core.contracts import ArtifactStore
from zenml.core.engine._as_job import attach as attach_to
from zenml.core.engine._as_job import job_from_store
from zenml.core.engine._run import Run
from zenml.core.errors import RunError
from zenml.core.jobs import job_folders, request_cancel
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
    request_cancel(store, found.id)
    folders = job_folders(store, found.id)
    for folder in folders:
        job_from_store(store, repository.registry, folder).cancel(grace)
    if not folders:
        raise RunError(
            f"run {found.id} runs in the process that started it",
            where=f"process {found.started.pid} on {found.started.host}",
            remedy="press Ctrl-C there",
        )
    # Seen to its end, so that the run has an outcome even if nobody else waits for it.
    with contextlib.suppress(RunError):
        attach_to(store, repository.registry, found.id)
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
    """Wait for a RUN; fails if the run fails. RUN may be shortened, or 'last'."""
    repository, store, found = _open(run_id, store_url)
    attach_to(store, repository.registry, found.id)
    repository.metadata_store.ingest(store, found.id)
    echo(f"run {found.id} {found.status}")


COMMANDS = (attach, cancel, logs, wait)
