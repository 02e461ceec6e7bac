"""Pipelines for the engine, which is tested with nothing but the core installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from zenml.core import ArtifactStore, Backend, MapContext, ProcessingBackend, Unit, execute_unit
from zenml.pipelines import Pipeline
from zenml.repo import Repository


class Backwards(ProcessingBackend):
    """Executes units one by one, the last first: no result may depend on the order."""

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        for index in reversed(range(len(units))):
            yield index, execute_unit(units[index], context)


class NewPipeline(Protocol):
    def __call__(self, name: str = ..., *, steps: int | None = ..., **options: Any) -> Pipeline: ...


@pytest.fixture
def store(project: Path) -> ArtifactStore:
    """The project's artifact store."""
    return Repository.get_instance().artifact_store


@pytest.fixture
def new_pipeline(project: Path, kinds: dict[str, type[Backend]]) -> NewPipeline:
    """Makes pipelines whose backends are the tiny ones; ``steps`` run at once."""

    def make(name: str = "tested", *, steps: int | None = None, **options: Any) -> Pipeline:
        here = kinds["orchestrator"](steps=steps)
        return Pipeline(name, backends=[here, Backwards(), kinds["training"]()], **options)

    return make
