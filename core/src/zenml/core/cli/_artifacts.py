"""``zenml artifact …`` and ``zenml gc``."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path, PurePosixPath

import click

from zenml.core.cli._output import ago, echo, echo_json, size, table
from zenml.core.contracts import Artifact, ArtifactStore
from zenml.core.engine._files import StoreFiles
from zenml.core.engine._gc import collect, find_garbage
from zenml.core.engine._lookup import find_artifact
from zenml.core.engine._orphans import find_orphans, sweep
from zenml.core.engine._values import artifact_key, read_artifact
from zenml.core.errors import IntegrityError, StoreError
from zenml.repo import Repository

__all__ = ["artifact", "gc"]

_STORE = click.option("--store", "store_url", help="Artifact store; the repository's by default.")


def _store(url: str | None) -> ArtifactStore:
    return Repository.get_instance().open_artifact_store(url)


@click.group()
def artifact() -> None:
    """List, fetch and remove artifacts."""


@artifact.command("list")
@_STORE
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_artifacts(store_url: str | None, as_json: bool) -> None:
    """List every artifact, newest first."""
    store = _store(store_url)
    found = sorted(store.list("artifacts/"), key=lambda item: item.modified, reverse=True)
    rows = []
    for item in found:
        digest = item.key.removeprefix("artifacts/").removesuffix(".json")
        try:
            manifest = read_artifact(digest, store)
        except IntegrityError:
            rows.append((digest, "DAMAGED", 0, 0, item.modified))
            continue
        rows.append((digest, manifest.format, len(manifest.files), manifest.size, item.modified))
    if as_json:
        names = ("digest", "format", "files", "size", "modified")
        echo_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    table(
        ("digest", "format", "files", "size", "made"),
        [(d[:12], f, str(n), size(s), ago(when.isoformat())) for d, f, n, s, when in rows],
        empty="no artifact yet",
    )


@artifact.command()
@click.argument("digest")
@_STORE
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Copy its files here.")
def get(digest: str, store_url: str | None, folder: Path | None) -> None:
    """Print an artifact's value, or copy its files.

    DIGEST may be shortened, or be RUN:step.output.
    """
    store = _store(store_url)
    found = read_artifact(find_artifact(digest, store), store)
    if folder is None:
        echo_json(found)
        return
    with StoreFiles(store) as files:
        copied = _copy(found, files, folder)
    echo(f"copied {copied} files ({size(found.size)}) to {folder}")


def _copy(found: Artifact, files: StoreFiles, folder: Path) -> int:
    for name, blob in found.files.items():
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts:
            raise IntegrityError("an artifact names a file outside its folder", where=name)
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files.fetch(blob), target)
    return len(found.files)


@artifact.command()
@click.argument("digest")
@_STORE
def rm(digest: str, store_url: str | None) -> None:
    """Remove an artifact. The step that made it runs again when it is needed.

    Its bytes go with the next 'zenml gc', unless another artifact names them.
    """
    store = _store(store_url)
    whole = find_artifact(digest, store)
    store.delete(artifact_key(whole))
    echo(f"removed {whole}")


@click.command()
@_STORE
@click.option("--yes", is_flag=True, help="End and delete what is listed.")
@click.option("--grace", default=60, show_default=True, help="Keep what is younger, in minutes.")
@click.option("--runs-older-than", "days", type=int, help="Drop records of runs older, in days.")
def gc(store_url: str | None, yes: bool, grace: int, days: int | None) -> None:
    """Find jobs that nobody waits for and what nothing refers to; with --yes, end and delete it."""
    repository = Repository.get_instance()
    store = repository.open_artifact_store(store_url)
    try:
        store.read("zenml-store.json")
    except StoreError:
        echo("there is no store yet, so nothing to collect")
        return
    kept = timedelta(minutes=grace)
    # First: a job's record, which may be old enough to go, is all that finds the job.
    orphans = find_orphans(store, repository.registry, grace=kept, tell=echo)
    if orphans.found:
        table(("job", "why"), [(o.key, o.reason) for o in orphans.found], empty="")
        echo()
    for line in orphans.unknown:
        echo(line)
    swept = sweep(orphans.found) if yes else 0
    older = None if days is None else timedelta(days=days)
    found = list(find_garbage(store, grace=kept, runs_older_than=older))
    reasons = sorted({item.reason for item in found})
    if found or not orphans.found:
        table(
            ("what", "objects", "size"),
            [
                (
                    reason,
                    str(sum(item.reason == reason for item in found)),
                    size(sum(item.size for item in found if item.reason == reason)),
                )
                for reason in reasons
            ],
            empty="nothing to collect",
        )
    if found:
        echo()
    if not yes and (found or orphans.found):
        echo("nothing was deleted; 'zenml gc --yes' does it")
        return
    if orphans.found:
        echo(f"ended and tidied up {swept} of {len(orphans.found)} jobs")
    if found:
        echo(f"deleted {len(found)} objects, {size(collect(store, found))}")
