"""Finding the run that somebody means."""

from __future__ import annotations

from zenml.core.contracts import ArtifactStore
from zenml.core.engine._records import run_ids
from zenml.core.engine._run import Run
from zenml.core.errors import RunError

__all__ = ["find_run"]


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
