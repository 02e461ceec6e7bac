"""What zenml-beam registers; it is imported whenever backends are listed, without Beam."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import BackendSpec, hookimpl

__all__: list[str] = []


@hookimpl
def zenml_processors() -> Iterator[BackendSpec]:
    """Units of work as a pipeline."""
    yield BackendSpec(
        type="beam",
        target="zenml.beam.processing:ProcessingBeamBackend",
        summary="Spreads a step's work as an Apache Beam pipeline, on any of Beam's runners.",
        # Beam's runners inside of one process do one thing after the other.
        capabilities=frozenset({"cancel", "isolation", "parallel"}),
        requires=("apache_beam",),
    )
