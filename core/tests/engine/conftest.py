"""Backends of a few lines each: the engine is tested with nothing but the core installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from zenml.core import (
    ArtifactStore,
    MapContext,
    OrchestratorBackend,
    PlanWork,
    ProcessingBackend,
    StepWork,
    TrainingBackend,
    Unit,
    execute_unit,
)
from zenml.core.cli import main
from zenml.pipelines import Pipeline
from zenml.repo import Repository


class Here(OrchestratorBackend):
    """Executes plans in this process."""

    steps: int | None = None

    def run(self, work: PlanWork) -> None:
        work.execute_here(max_parallel_steps=self.steps)


class Backwards(ProcessingBackend):
    """Executes units one by one, the last first: no result may depend on the order."""

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        for index in reversed(range(len(units))):
            yield index, execute_unit(units[index], context)


class TrainsHere(TrainingBackend):
    """Executes trainers in this process."""

    def train(self, work: StepWork) -> None:
        work.execute_here()


class NewPipeline(Protocol):
    def __call__(self, name: str = ..., *, steps: int | None = ..., **options: Any) -> Pipeline: ...


@pytest.fixture
def store(project: Path) -> ArtifactStore:
    """The project's artifact store."""
    return Repository.get_instance().artifact_store


@pytest.fixture
def new_pipeline(project: Path) -> NewPipeline:
    """Makes pipelines whose backends are the tiny ones; ``steps`` run at once."""

    def make(name: str = "tested", *, steps: int | None = None, **options: Any) -> Pipeline:
        return Pipeline(name, backends=[Here(steps=steps), Backwards(), TrainsHere()], **options)

    return make


class Said(NamedTuple):
    code: object
    out: str
    err: str


@pytest.fixture
def zenml(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Calls the command line in the project."""

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return Said(ended.value.code, *capsys.readouterr())

    return call
