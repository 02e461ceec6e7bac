"""A job for each step: found again, ended, resumed and tidied up as the plan's own is."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen
from typing import Any

import pytest

SCRIPT = """
import json
import os
import signal
import sys
import time
from pathlib import Path

from helper import twice
from zenml.core import OrchestratorBackend, TrainingBackend
from zenml.local import OrchestratorLocalBackend, OrchestratorSubprocessBackend
from zenml.local import TrainingSubprocessBackend
from zenml.pipelines import Pipeline, step


class HereWithJobs(OrchestratorBackend):
    jobs: str

    def run(self, work):
        work.execute_here()

    def step_backend(self):
        return OrchestratorSubprocessBackend(work_folder=self.jobs)


class TrainsWithWords(TrainingBackend):
    def train(self, work):
        print("trains in", os.environ["PLACE"], flush=True)
        work.execute_here()


@step
def number(value: int) -> dict:
    print("number", value, flush=True)
    return {"value": twice(value), "parts": [value / 3, "\\u00fc"]}


@step
def hold(output: dict, marks: str, name: str, how: str) -> dict:
    if how == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(f"{marks}/{name}", "a") as mark:
        mark.write(f"{os.getpid()}\\n")
    print("holding", name, flush=True)
    while how in ("hold", "stubborn") and not Path(f"{marks}/go").exists():
        time.sleep(0.05)
    if how == "raise" and name == "right":
        raise ValueError("no good: \\u00fc")
    return {**output, name: True}


@step(kind="training")
def train(left: dict, right: dict) -> dict:
    return {**left, **right}


if __name__ == "__main__":
    how, isolation, marks, *options = sys.argv[1:]
    arguments = dict(option.split("=") for option in options)
    pipeline = Pipeline("steps \\u00fc")
    pipeline.add_step(number(value=4), name="number")
    for name in ("left", "right"):
        held = hold(marks=marks, name=name, how=how)
        pipeline.add_step(held, name=name, inputs={"output": "number"})
    pipeline.add_step(train(), name="train", inputs={"left": "left", "right": "right"})
    jobs = f"{marks}/jobs"
    here = {"local": OrchestratorLocalBackend, "here": lambda: HereWithJobs(jobs=jobs)}
    if isolation in here:
        orchestrator = here[isolation]()
    else:
        orchestrator = OrchestratorSubprocessBackend(
            isolation=isolation,
            work_folder=jobs,
            retry_delay=0.1,
            environment={"PLACE": "a job"},
        )
    backends = {}
    if arguments.get("trainer") == "jobs":
        backends["training"] = TrainingSubprocessBackend(work_folder=jobs)
    elif "trainer" in arguments:
        backends["training"] = TrainsWithWords()
    store = arguments.get("store")
    run = pipeline.run(
        orchestrator, backends=backends, artifact_store=store, detach="detach" in arguments
    )
    if "detach" not in arguments:
        print(json.dumps({name: step.outputs for name, step in run.steps.items()}))
"""


class Split:
    """The project's folder, and the marks that its steps leave."""

    def __init__(self, project: Any, marks: Path) -> None:
        self.project = project
        self.marks = marks
        self.clients: list[Popen[str]] = []
        (project.folder / "split.py").write_text(SCRIPT, encoding="utf-8")

    def start(self, how: str, isolation: str = "step", *options: str) -> Popen[str]:
        command = [sys.executable, "split.py", how, isolation, str(self.marks), *options]
        process = Popen(command, cwd=self.project.folder, stdout=PIPE, stderr=PIPE, text=True)
        self.clients.append(process)
        return process

    def run(self, *arguments: str) -> CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=40)
        return CompletedProcess(process.args, process.returncode, out, err)

    def close(self) -> None:
        """End the clients that a failed test has left."""
        for client in self.clients:
            client.kill()
            client.communicate()

    def held(self, name: str) -> list[int]:
        """Process ids of the attempts at a step that have begun."""
        mark = self.marks / name
        return [int(line) for line in mark.read_text().split()] if mark.exists() else []

    def wait_for_both(self) -> None:
        self.project.wait_until(lambda: self.held("left") and self.held("right"))

    def go(self) -> None:
        (self.marks / "go").touch()

    def jobs(self, name: str = "request.json") -> list[str]:
        """The jobs of all runs that have such an object, each by the name of its folder."""
        runs = self.project.folder / ".zenml" / "store" / "runs"
        parts = [path.relative_to(runs).parts for path in runs.glob(f"*/jobs/**/{name}")]
        return sorted(part[2].rpartition("-")[0] or part[2] for part in parts)

    def engine(self) -> int:
        """Process id of the runner of the plan's latest attempt."""
        found = [pid for pid in self.project.runners() if b"/jobs/plan/" in _words(pid)]
        return max(found)


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def split(project: Any, tmp_path: Path) -> Iterator[Split]:
    marks = tmp_path / "marks"
    marks.mkdir()
    made = Split(project, marks)
    yield made
    made.close()


def test_artifacts_are_the_same_bytes_whatever_executes_the_steps(split, tmp_path):
    found = []
    for isolation in ("local", "pipeline", "step", "here"):
        # A store of its own: nothing comes from the cache.
        done = split.run("fine", isolation, f"store={tmp_path / isolation}")
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert set(found[0]) == {"number", "left", "right", "train"}
    assert found == [found[0]] * 4


def test_every_step_has_a_job_and_a_trainer_that_of_its_own_backend(split):
    done = split.run("fine", "step", "trainer=jobs")
    assert done.returncode == 0, done.stderr
    assert split.jobs() == ["plan", "step.left", "step.number", "step.right", "step.train"]
    assert split.jobs("cleaned.json") == split.jobs()
    store = split.project.folder / ".zenml" / "store"
    kinds = {
        path.parts[-2].rpartition("-")[0]: json.loads(path.read_bytes())["kind"]
        for path in store.glob("runs/*/jobs/step.*/request.json")
    }
    assert kinds.pop("step.train") == "training"
    assert set(kinds.values()) == {"orchestrator"}
    assert len(list((store / "code").iterdir())) == 1, "steps were sent code of their own"
    logs = split.project.zenml("run", "logs", "last").stdout
    assert "number 4" in logs
    assert "holding left" in logs
    assert split.project.runners() == []


def test_a_training_backend_without_jobs_trains_in_that_of_the_step(split):
    done = split.run("fine", "step", "trainer=words")
    assert done.returncode == 0, done.stderr
    runs = split.project.folder / ".zenml" / "store" / "runs"
    log = "".join(path.read_text() for path in runs.glob("*/jobs/step.train-*/1/log-*"))
    assert "trains in a job" in log


def test_an_engine_in_the_clients_process_has_jobs_for_its_steps_too(split):
    done = split.run("raise", "here")
    assert done.returncode == 1
    assert "step 'right' failed: ValueError: no good: ü" in done.stderr
    assert "plan" not in split.jobs()
    statuses = {step["step"]: step["status"] for step in split.project.last()["steps"]}
    assert (statuses["left"], statuses["right"]) == ("succeeded", "failed")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_engine_that_ends_is_followed_by_one_that_finds_its_steps(split, number):
    process = split.start("hold")
    split.wait_for_both()
    os.kill(split.engine(), number)
    split.project.wait_until(lambda: split.jobs("task.json").count("plan") == 2)
    split.go()
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert len(split.held("left")) == len(split.held("right")) == 1
    assert split.jobs("task.json").count("step.left") == 1
    assert split.project.runners() == []


def test_a_step_that_is_killed_is_tried_again_and_the_other_goes_on(split):
    process = split.start("hold")
    split.wait_for_both()
    [child] = split.held("left")
    runner = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(runner, signal.SIGKILL)
    split.project.wait_until(lambda: len(split.held("left")) == 2)
    split.go()
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert len(split.held("right")) == 1
    assert split.jobs("task.json").count("plan") == 1


def test_one_client_is_killed_and_another_sees_the_run_through(split):
    process = split.start("hold")
    split.wait_for_both()
    process.kill()
    process.communicate()
    waiting = Popen(
        [sys.executable, "-m", "_zenml_main", "run", "attach", "last"],
        cwd=split.project.folder,
        stderr=PIPE,
        text=True,
    )
    split.go()
    _, err = waiting.communicate(timeout=40)
    assert waiting.returncode == 0, err
    assert split.project.last()["status"] == "succeeded"
    assert split.project.runners() == []


@pytest.mark.parametrize("isolation", ["step", "here"])
def test_ctrl_c_ends_every_steps_job(split, isolation):
    process = split.start("hold", isolation)
    split.wait_for_both()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=40)
    assert "press Ctrl-C again to force" in err
    assert split.project.last()["status"] == "cancelled"
    split.project.wait_until(lambda: not split.project.runners())


@pytest.mark.parametrize("isolation", ["step", "here"])
def test_a_second_ctrl_c_does_not_wait_for_steps_that_do_not_listen(split, isolation):
    process = split.start("stubborn", isolation)
    split.wait_for_both()
    process.send_signal(signal.SIGINT)
    assert "press Ctrl-C again to force" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=40)
    split.project.wait_until(lambda: not split.project.runners(), seconds=15)
    assert split.project.last()["status"] == "cancelled"


def test_an_engine_in_a_clients_process_hears_that_its_run_is_cancelled(split):
    process = split.start("hold", "here")
    split.wait_for_both()
    cancelled = split.project.zenml("run", "cancel", "last")
    assert "is cancelled" in cancelled.stdout, cancelled.stderr
    process.communicate(timeout=40)
    assert split.project.runners() == []


def test_a_run_is_cancelled_from_elsewhere_and_resumed(split):
    split.run("hold", "step", "detach=1")
    split.wait_for_both()
    cancelled = split.project.zenml("run", "cancel", "last")
    assert "is cancelled" in cancelled.stdout, cancelled.stderr
    split.project.wait_until(lambda: not split.project.runners())
    split.go()
    resumed = split.project.zenml("run", "resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    run = split.project.last()
    statuses = {step["step"]: step["status"] for step in run["steps"]}
    assert statuses == dict.fromkeys(["left", "right", "train"], "succeeded") | {"number": "cached"}


def test_a_step_that_takes_too_long_is_ended_by_its_own_deadline(split):
    # The engine's own comes at the same time, so it is the engine here that has none.
    script = split.project.folder / "split.py"
    short = SCRIPT.replace("work_folder=self.jobs)", "work_folder=self.jobs, timeout=2.0)")
    script.write_text(short, encoding="utf-8")
    done = split.run("hold", "here")
    assert done.returncode == 1
    run = split.project.last()
    assert run["outcome"]["failure"]["cause"] == "TIMEOUT"
    assert split.project.runners() == []


def test_gc_ends_the_jobs_of_a_run_whose_engine_nobody_follows(split):
    process = split.start("hold")
    split.wait_for_both()
    process.kill()
    process.communicate()
    os.kill(split.engine(), signal.SIGKILL)
    store = split.project.folder / ".zenml" / "store"
    [run] = (store / "runs").iterdir()
    # Its client would have written that down.
    (run / "outcome.json").write_text(
        '{"status": "failed", "finished": "2026-01-02T03:04:05Z", "seconds": 1}'
    )
    swept = split.project.zenml("gc", "--grace", "0", "--yes")
    assert swept.returncode == 0, swept.stderr
    assert "3 jobs" in swept.stdout or swept.stdout.count("job of a run") == 3, swept.stdout
    split.project.wait_until(lambda: not split.project.runners())
