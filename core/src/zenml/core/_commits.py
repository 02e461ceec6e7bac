"""Commits of datasources: snapshots with a history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zenml.core._canonical import canonical, from_json
from zenml.core.contracts._store import ArtifactStore, safe_segment
from zenml.core.engine._run import Run
from zenml.core.errors import DataError

if TYPE_CHECKING:
    from zenml.core.contracts._step import Datasource

__all__ = ["commit_datasource", "committed_outputs", "list_commits", "record_commit"]


def commit_datasource(datasource: Datasource) -> str:
    """Take a snapshot of a datasource now; returns its commit id."""
    from zenml.pipelines import DataPipeline

    run = DataPipeline(datasource).run()
    return record_commit(datasource.name, run)


def record_commit(name: str, run: Run) -> str:
    """Enter the snapshot that a run made into the history of a datasource."""
    outputs = run.steps["data"].outputs
    commit_id = next(iter(outputs.values()))
    prefix = f"commits/{safe_segment(name)}"
    content = {"name": name, "outputs": outputs, "run": run.id}
    if not any(commit_id in found.key for found in run.store.list(f"{prefix}/")):
        # Keys begin with the run's id, so a listing is in the order of time.
        run.store.write_if_absent(f"{prefix}/{run.id}.{commit_id}.json", canonical(content))
    return commit_id


def list_commits(name: str, store: ArtifactStore | None = None) -> list[str]:
    """Ids of the commits of a datasource, oldest first."""
    if store is None:
        from zenml.repo import Repository

        store = Repository.get_instance().artifact_store
    prefix = f"commits/{safe_segment(name)}/"
    return [found.key.split(".")[-2] for found in store.list(prefix)]


def committed_outputs(name: str, commit_id: str, store: ArtifactStore) -> dict[str, str]:
    """Output name to artifact digest of one commit. The id may be shortened.

    Raises:
        DataError: there is no such commit, or several begin so.
    """
    keys = [
        found.key
        for found in store.list(f"commits/{safe_segment(name)}/")
        if found.key.split(".")[-2].startswith(commit_id)
    ]
    if len(keys) != 1:
        ids = ", ".join(commit[:12] for commit in list_commits(name, store)) or "none"
        what = "there is no such commit" if not keys else "several commits begin so"
        raise DataError(
            f"{what}: {commit_id!r}",
            where=f"datasource '{name}'",
            remedy=f"its commits are: {ids}",
        )
    outputs: dict[str, str] = from_json(store.read(keys[0]))["outputs"]
    return outputs
