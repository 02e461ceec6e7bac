"""Datasources: named, versioned sources of rows, and the history of their snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zenml.core._canonical import canonical, from_json
from zenml.core.contracts import ArtifactStore, Step, safe_segment
from zenml.core.errors import DataError, StoreUnavailableError

if TYPE_CHECKING:
    from zenml.core.engine._run import Run

__all__ = ["Datasource", "committed_outputs"]


class Datasource(Step):
    """A named, versioned source of rows: a step without inputs.

    ``run`` takes an immutable snapshot; ``fingerprint`` says which version of the source it would
    be taken from, so that an unchanged source is not read again.
    """

    unkeyed = frozenset({"name"})

    name: str

    def commit(self) -> str:
        """Take a snapshot now and return its id, the digest of its content.

        Committing an unchanged source gives the same id.
        """
        from zenml.pipelines._data import DataPipeline

        run = DataPipeline(self).run()
        return _record(self.name, run)

    @property
    def commits(self) -> list[str]:
        """Ids of the commits under this name, oldest first."""
        from zenml.repo import Repository

        store = Repository.get_instance().artifact_store
        store.prepare()
        return _list(self.name, store)


def _record(name: str, run: Run) -> str:
    """Enter the snapshot that a run made into the history of a datasource."""
    outputs = run.steps["data"].outputs
    commit_id = next(iter(outputs.values()))
    prefix = f"commits/{safe_segment(name)}"
    if commit_id not in _list(name, run.store):
        # Keys begin with the run's id, so a listing is in the order of time.
        content = canonical({"name": name, "outputs": outputs, "run": run.id})
        run.store.write_if_absent(f"{prefix}/{run.id}.{commit_id}.json", content)
    return commit_id


def _list(name: str, store: ArtifactStore) -> list[str]:
    prefix = f"commits/{safe_segment(name)}/"
    return [found.key.split(".")[-2] for found in store.list(prefix)]


def committed_outputs(name: str, commit_id: str, store: ArtifactStore) -> dict[str, str]:
    """Output name to artifact digest of one commit. The id may be shortened.

    Raises:
        DataError: there is no such commit, or several begin so.
    """
    try:
        keys = [
            found.key
            for found in store.list(f"commits/{safe_segment(name)}/")
            if found.key.split(".")[-2].startswith(commit_id)
        ]
    except StoreUnavailableError as error:
        raise DataError(
            f"there is no such commit: {commit_id!r}",
            where=f"datasource '{name}'",
            remedy=f"{error.message} ({error.where}): commit the datasource first, or give the "
            "pipeline the artifact store that it was committed to",
        ) from None
    if len(keys) != 1:
        ids = ", ".join(commit[:12] for commit in _list(name, store)) or "none"
        what = "there is no such commit" if not keys else "several commits begin so"
        raise DataError(
            f"{what}: {commit_id!r}",
            where=f"datasource '{name}'",
            remedy=f"its commits are: {ids}",
        )
    outputs: dict[str, str] = from_json(store.read(keys[0]))["outputs"]
    return outputs
