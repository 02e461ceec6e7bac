"""A training in a job whose machine is taken away: the next attempt goes on from the checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from zenml.core.testing import wait_until

SCRIPT = """
import sys

from zenml.datasources import CSVDatasource
from zenml.local import TrainingSubprocessBackend
from zenml.pipelines import TrainingPipeline
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import TFFeedForwardTrainer, TorchFeedForwardTrainer

if __name__ == "__main__":
    library, table, jobs = sys.argv[1:4]
    trainers = {"tensorflow": TFFeedForwardTrainer, "torch": TorchFeedForwardTrainer}
    trainer = trainers[library](
        loss="binary_crossentropy", metrics=["accuracy"], epochs=24, batch_size=8, lr=0.001
    )
    if jobs:
        trainer.with_backend(TrainingSubprocessBackend(work_folder=jobs, retry_delay=0.1))
    pipeline = TrainingPipeline(name="preempted", enable_cache="--no-cache" not in sys.argv)
    pipeline.add_datasource(CSVDatasource(name="table", path=table, rows_per_shard=300))
    pipeline.add_split(RandomSplit(split_map={"train": 0.8, "eval": 0.2}))
    pipeline.add_preprocesser(StandardPreprocesser(labels=["late"]))
    pipeline.add_trainer(trainer)
    pipeline.run()
"""


class Project:
    """A repository with the script above."""

    def __init__(self, folder: Path, table: str, library: str) -> None:
        self.folder = folder
        self.words = [library, table]
        folder.mkdir()
        (folder / "train.py").write_text(SCRIPT, encoding="utf-8")
        self.store = folder / ".zenml" / "store"
        self.jobs = folder / "jobs"

    def start(self, jobs: str, *options: str) -> subprocess.Popen[str]:
        return self.spawn("train.py", *self.words, jobs, *options)

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> str:
        """What a process says on standard output, which it must come to the end of."""
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return output

    def outputs(self) -> dict[str, str]:
        """Digests of what the trainer of the latest run made."""
        shown = json.loads(
            self.finish(self.spawn("-m", "_zenml_main", "run", "show", "last", "--json"))
        )
        [trainer] = [step for step in shown["steps"] if "history" in step["outputs"]]
        outputs: dict[str, str] = trainer["outputs"]
        assert set(outputs) == {"history", "model"}
        return outputs

    def epochs(self) -> int:
        """How many epochs the checkpoint has behind it; 0 if there is none."""
        for path in self.store.glob("units/*/checkpoint.json"):
            return len(json.loads(path.read_bytes())["checkpoint"]["history"])
        return 0

    def runners(self) -> list[int]:
        """Process ids of supervisors and children that work for this store."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode().split("\0")
                except OSError:
                    continue
                if "zenml.core.runner" in words and any(
                    self.store.as_uri() in word for word in words
                ):
                    found.append(int(entry.name))
        return sorted(found)


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """1,000 rows, the third column of which follows from the others."""
    rows = [(n * 7919 % 1000, n % 13) for n in range(1_000)]
    lines = [f"{a},{b},{str(a + b * 20 > 600).lower()}" for a, b in rows]
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text("\n".join(["distance,delay,late", *lines]) + "\n")
    return str(path)


@pytest.fixture
def new_project(tmp_path: Path, table: str) -> Iterator[Callable[[str], Project]]:
    made: list[Project] = []

    def make(library: str) -> Project:
        made.append(Project(tmp_path / "project", table, library))
        return made[-1]

    yield make
    for project in made:
        for pid in project.runners():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, table: str
) -> Callable[[str], dict[str, str]]:
    """What a training in one piece gives, in the client's process, with a store of its own."""

    @cache
    def train(library: str) -> dict[str, str]:
        whole = Project(tmp_path_factory.mktemp("whole") / "project", table, library)
        whole.finish(whole.start(""))
        return whole.outputs()

    return train


#: A machine that says that it goes, and one that is gone.
LEAVES, GONE = signal.SIGTERM, signal.SIGKILL


@pytest.mark.parametrize(
    ("library", "ends", "options"),
    [
        ("tensorflow", [LEAVES], []),
        ("torch", [LEAVES, GONE], []),
        ("torch", [LEAVES], ["--no-cache"]),
    ],
    ids=["tensorflow", "torch", "torch without cache"],
)
def test_a_training_that_is_preempted_gives_what_one_in_one_piece_gives(
    new_project: Any, uninterrupted: Any, library: str, ends: list[int], options: list[str]
) -> None:
    project = new_project(library)
    process = project.start(str(project.jobs), *options)
    done = 0
    for end in ends:
        wait_until(lambda done=done: project.epochs() > done + 1, timeout=120)
        working = project.runners()
        os.kill(working[0], end)
        wait_until(lambda working=working: not set(working) & set(project.runners()), timeout=120)
        done = project.epochs()
        # The next attempt goes on from there: beginning anew, it would leave that of one epoch.
        assert (
            wait_until(lambda done=done: project.epochs() != done and project.epochs(), timeout=120)
            > done
        )
    project.finish(process)
    assert project.outputs() == uninterrupted(library)
    assert len(list(project.store.glob("runs/*/jobs/*/*/task.json"))) == 1 + len(ends)
    assert project.runners() == []


def test_a_run_that_is_resumed_goes_on_with_the_training(
    new_project: Any, uninterrupted: Any
) -> None:
    project = new_project("torch")
    process = project.start("")
    wait_until(lambda: project.epochs() > 1, timeout=120)
    process.kill()
    process.communicate()
    done = project.epochs()
    resumed = project.spawn("-m", "_zenml_main", "run", "resume", "last")
    assert wait_until(lambda: project.epochs() != done and project.epochs(), timeout=120) > done
    project.finish(resumed)
    assert project.outputs() == uninterrupted("torch")
