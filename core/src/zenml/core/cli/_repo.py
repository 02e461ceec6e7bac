"""``zenml init``, ``zenml repo …`` and ``zenml version``."""

from __future__ import annotations

from importlib import metadata

import click

from zenml.core.cli._output import echo
from zenml.repo import Repository

__all__ = ["init", "repo", "version"]


@click.command()
@click.option("--artifact-store", help="URL or path; .zenml/store by default.")
@click.option("--metadata-store", help="URL of the index; SQLite in .zenml by default.")
def init(artifact_store: str | None, metadata_store: str | None) -> None:
    """Make this folder a repository, or change the stores of one."""
    made = Repository.init_repo(artifact_store_path=artifact_store, metadata_store=metadata_store)
    echo(f"repository {made.root}")
    echo(f"artifact store {made.artifact_store.url}")


@click.group()
def repo() -> None:
    """The repository and its index."""


@repo.command()
def show() -> None:
    """Show where the repository and its stores are."""
    found = Repository.get_instance()
    echo(f"repository      {found.root}")
    echo(f"artifact store  {found.artifact_store.url}")
    echo(f"connected       {', '.join(found.config.backends) or 'no backend'}")


@repo.command()
@click.option("--store", "store_url", help="Artifact store; the repository's by default.")
def reindex(store_url: str | None) -> None:
    """Rebuild the index from the run logs in the artifact store."""
    found = Repository.get_instance()
    store = found.open_artifact_store(store_url)
    store.prepare()
    count = found.metadata_store.reindex(store)
    echo(f"indexed {count} runs of {store.url}")


@click.command()
def version() -> None:
    """Print the version."""
    echo(f"zenml-core {metadata.version('zenml-core')}")
