"""What this distribution registers; it is imported whenever backends are listed, without Dask."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import BackendSpec, hookimpl

__all__: list[str] = []


@hookimpl
def zenml_processors() -> Iterator[BackendSpec]:
    """Processing on Dask."""
    yield BackendSpec(
        type="dask",
        target="acme_zenml_dask:ProcessingDaskBackend",
        summary="Spreads a step's work over the workers of a Dask cluster.",
        # Isolation is complete on the cluster that a map starts: a unit cannot be given up on one
        # that is there, where nobody may end workers that others use.
        capabilities=frozenset({"cancel", "isolation", "parallel"}),
        requires=("distributed",),
    )
