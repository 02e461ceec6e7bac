"""What a service does to a job besides running it: limits, turns, and beginnings that fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core.testing import Project, wait_until

SCRIPT = """
import json
import sys
import time
from pathlib import Path

from zenml.local import OrchestratorSubprocessBackend, TrainingSubprocessBackend
from zenml.pipelines import Pipeline, step


@step
def work(size: int, marker: str) -> int:
    if marker:
        Path(marker, "begun").touch()
        while not Path(marker, "go").exists():
            time.sleep(0.02)
    return len(bytearray(size))


@step(kind="training")
def train(output: int) -> int:
    return output + 1


if __name__ == "__main__":
    size, marker, parameters, *detach = sys.argv[1:]
    pipeline = Pipeline(name="limited")
    pipeline.add_step(work(size=int(size), marker=marker), name="work")
    pipeline.add_step(train(), name="train", inputs={"output": "work"})
    parameters = json.loads(parameters)
    backends = {"training": TrainingSubprocessBackend(**parameters)}
    orchestrator = OrchestratorSubprocessBackend(**parameters)
    run = pipeline.run(orchestrator, backends=backends, detach=bool(detach))
    print("RUN", run.id)
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project", {"train.py": SCRIPT})
    yield made
    made.end_processes()


def arguments(project: Project, size: int = 1, marker: str = "", **parameters: Any) -> list[str]:
    parameters["work_folder"] = str(project.folder.parent / "jobs")
    return ["train.py", str(size), marker, json.dumps(parameters)]


def shown(project: Project, run: str = "last") -> Any:
    return json.loads(project.zenml("run", "show", run, "--json").stdout)


def failure(project: Project) -> Any:
    return shown(project)["outcome"]["failure"]


def test_work_that_takes_more_memory_than_its_job_was_given_says_so(project: Project) -> None:
    done = project.run(*arguments(project, 1 << 30, memory="512MiB"))

    assert done.returncode == 1
    assert failure(project)["cause"] == "OOM"
    assert "give the backend more memory" in done.stderr


def test_work_that_takes_less_is_done(project: Project) -> None:
    done = project.run(*arguments(project, 1 << 20, memory="512MiB", max_jobs=1))

    # The plan has the only place for plans, and its trainer the only one for trainers.
    assert done.returncode == 0, done.stderr


def test_a_job_that_no_machine_could_hold_is_given_up_at_once(project: Project) -> None:
    done = project.run(*arguments(project, memory="65536TiB"))

    assert done.returncode == 1
    assert failure(project)["cause"] == "UNSCHEDULABLE"
    assert "asks for 65536 TiB of memory; this machine has" in done.stderr
    assert not list((project.folder.parent / "jobs").iterdir())


def test_a_job_without_an_interpreter_is_not_tried_again(project: Project) -> None:
    done = project.run(*arguments(project, python="/nowhere/python"))

    assert done.returncode == 1
    assert failure(project)["cause"] == "IMAGE"
    assert "the interpreter /nowhere/python cannot be started" in done.stderr


def test_a_run_that_waits_for_its_turn_says_for_what_and_can_be_cancelled(
    project: Project, tmp_path: Path
) -> None:
    first = project.run(*arguments(project, marker=str(tmp_path), max_jobs=1), "detach")
    wait_until((tmp_path / "begun").exists)
    with project.start(*arguments(project, max_jobs=1)) as waiting:
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        assert "waits for the end of zenml-" in said
        assert "at most 1 may run at once (max_jobs)" in said
        project.zenml("run", "cancel", "last")
        waiting.communicate(timeout=60)
        assert waiting.returncode == 1
    assert shown(project)["status"] == "cancelled"
    assert shown(project)["steps"] == []
    (tmp_path / "go").touch()
    run = first.stdout.split()[-1]
    assert project.zenml("run", "wait", run).returncode == 0
    assert shown(project, run)["status"] == "succeeded"
