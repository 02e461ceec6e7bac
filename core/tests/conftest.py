"""Backends of a few lines each, so that nothing but the core need be installed; and a terminal."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from zenml.core import (
    Backend,
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

# Tests press Ctrl-C. A background process of a script ignores it, and so does all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Here(OrchestratorBackend):
    """Executes plans in this process."""

    steps: int | None = None

    def run(self, work: PlanWork) -> None:
        work.execute_here(max_parallel_steps=self.steps)


class InOrder(ProcessingBackend):
    """Executes units one after the other."""

    region: str = "here"

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        for index, unit in enumerate(units):
            yield index, execute_unit(unit, context)


class TrainsHere(TrainingBackend):
    """Executes trainers in this process."""

    def train(self, work: StepWork) -> None:
        work.execute_here()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, and the present folder."""
    (tmp_path / ".zenml").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def backends(project: Path) -> list[Backend]:
    """One backend of each kind."""
    return [Here(), InOrder(), TrainsHere()]


@pytest.fixture
def kinds() -> dict[str, type[Backend]]:
    """The backend classes by kind."""
    return {"orchestrator": Here, "processing": InOrder, "training": TrainsHere}


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
