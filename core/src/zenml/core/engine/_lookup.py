"""Finding the run, or the artifact, that somebody means."""

from __future__ import annotations

from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._records import run_ids
from zenml.core.engine._run import Run
from zenml.core.errors import ObjectNotFoundError, RunError

__all__ = ["find_artifact", "find_run"]


def find_run(text: str, store: ArtifactStore) -> Run:
    """The run whose id begins (or ends) so; ``last`` is the latest."""
    ids = list(run_ids(store))
    matching = (
        ids[-1:] if text == "last" else [i for i in ids if i.startswith(text) or i.endswith(text)]
    )
    if text in ids:
        matching = [text]
    if len(matching) == 1:
        return Run(matching[0], store)
    what = "several runs match" if matching else "there is no run"
    raise RunError(f"{what} '{text}'", where=store.url, remedy="'zenml run list' shows the runs")


def find_artifact(text: str, store: ArtifactStore) -> str:
    """The digest of an artifact, by the beginning of it or as ``RUN:step.output``.

    Raises:
        ObjectNotFoundError: no artifact begins so, or several do.
        RunError: there is no such run, or it has no such output.
    """
    run, _, rest = text.rpartition(":")
    if run and run != "sha256":
        return find_run(run, store).artifact(rest).digest
    if not rest or not all(char in "0123456789abcdef" for char in rest):
        raise ObjectNotFoundError(
            f"'{text}' is not the beginning of a digest",
            remedy="'zenml artifact list' shows the artifacts; RUN:step.output names one of a run",
        )
    keys = [found.key for found in store.list(f"artifacts/{rest}")]
    if len(keys) != 1:
        what = "several artifacts begin with" if keys else "no artifact begins with"
        raise ObjectNotFoundError(
            f"{what} '{rest}'",
            where=store.url,
            remedy="'zenml artifact list' shows the artifacts",
        )
    return keys[0].removeprefix("artifacts/").removesuffix(".json")
