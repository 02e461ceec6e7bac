"""Ctrl-C, once and twice, wherever a job is waited for; and what a client that dies leaves."""

from __future__ import annotations

import json
import os
import signal
import sys
from subprocess import PIPE, Popen

import pytest

#: The plan runs in this process, its trainer in a job; another step runs beside it if asked for.
LOCAL = """
import signal
import sys
import time
from pathlib import Path

from zenml.local import OrchestratorLocalBackend, TrainingSubprocessBackend
from zenml.pipelines import Pipeline, step


@step(kind="training")
def train(marker: str, stubborn: bool) -> int:
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(marker).touch()
    time.sleep(600)
    return 1


@step
def beside() -> int:
    time.sleep(600)
    return 2


jobs, marker, *options = sys.argv[1:]
pipeline = Pipeline("local")
pipeline.add_step(train(marker=marker, stubborn="stubborn" in options), name="train")
if "beside" in options:
    pipeline.add_step(beside(), name="beside")
trainer = TrainingSubprocessBackend(work_folder=jobs)
pipeline.run(OrchestratorLocalBackend(), backends={"training": trainer})
"""


def start_local(project, *options: str) -> Popen[str]:
    (project.folder / "local.py").write_text(LOCAL, encoding="utf-8")
    return Popen(
        [sys.executable, "local.py", str(project.jobs), str(project.marker), *options],
        cwd=project.folder,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
    )


def command(project, *words: str) -> Popen[str]:
    return Popen(
        [sys.executable, "-m", "_zenml_main", *words],
        cwd=project.folder,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
    )


def first_words(process: Popen[str]) -> str:
    """What it says next on standard error."""
    assert process.stderr is not None
    return process.stderr.readline()


def test_the_first_says_that_it_cancels_and_what_a_second_one_would_do(project):
    process = project.start("sleep")
    project.wait_until(project.marker.exists)
    process.send_signal(signal.SIGINT)
    assert "press Ctrl-C again to force" in first_words(process)
    process.communicate(timeout=60)
    assert project.runners() == []
    assert project.last()["status"] == "cancelled"


@pytest.mark.parametrize("how", ["wait", "attach"])
def test_whoever_waits_for_a_detached_run_cancels_it(project, how):
    project.run("sleep", "detach=1")
    project.wait_until(project.marker.exists)
    waiting = command(project, "run", how, "last")
    assert "Ctrl-C cancels it" in first_words(waiting)
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=60)
    assert waiting.returncode == 130, errors
    assert "press Ctrl-C again to force" in errors
    assert project.runners() == []
    assert project.last()["status"] == "cancelled"


@pytest.mark.parametrize("beside", [(), ("beside",)])
def test_a_trainers_job_ends_with_the_local_run_that_waits_for_it(project, beside):
    process = start_local(project, *beside)
    project.wait_until(project.marker.exists)
    process.send_signal(signal.SIGINT)
    said = first_words(process)
    assert "press Ctrl-C again to force" in said
    if beside:  # which nothing can interrupt
        project.wait_until(lambda: not project.runners())
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert project.runners() == []
    run = project.last()
    assert run["status"] == "cancelled"


@pytest.mark.parametrize("beside", [(), ("beside",)])
def test_a_second_one_does_not_wait_for_a_job_that_does_not_listen(project, beside):
    process = start_local(project, "stubborn", *beside)
    project.wait_until(project.marker.exists)
    process.send_signal(signal.SIGINT)
    assert "press Ctrl-C again to force" in first_words(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    project.wait_until(lambda: not project.runners())
    assert project.last()["status"] == "cancelled"


def test_a_trainers_job_whose_client_was_killed_is_found_and_ended(project):
    process = start_local(project)
    project.wait_until(project.marker.exists)
    process.kill()
    process.communicate()
    assert project.last()["status"] == "lost"
    assert "still running on subprocess" in project.zenml("gc", "--grace", "0").stdout
    assert project.runners()
    said = project.zenml("gc", "--grace", "0", "--yes")
    assert "ended and tidied up 1 of 1 jobs" in said.stdout, said.stderr
    assert project.runners() == []
    assert "jobs" not in project.zenml("gc", "--grace", "0").stdout


@pytest.mark.parametrize("ended", [False, True], ids=["it runs", "it has ended"])
def test_a_job_whose_client_was_killed_before_it_stored_the_handle_leaves_nothing(project, ended):
    process = start_local(project)
    project.wait_until(project.marker.exists)
    process.kill()
    process.communicate()
    [handle] = project.folder.glob(".zenml/store/runs/*/jobs/*/1/handle.json")
    [folder] = project.jobs.iterdir()
    handle.unlink()
    if ended:
        for runner in project.runners():
            os.kill(runner, signal.SIGTERM)
        project.wait_until(handle.with_name("outcome.json").exists)
    said = project.zenml("gc", "--grace", "0", "--yes")
    assert "ended and tidied up 1 of 1 jobs" in said.stdout, said.stderr
    assert project.runners() == []
    assert not folder.exists()
    assert "jobs" not in project.zenml("gc", "--grace", "0").stdout


def test_cancelling_a_run_whose_client_was_killed_ends_its_trainers_job_and_gives_it_an_outcome(
    project,
):
    process = start_local(project)
    project.wait_until(project.marker.exists)
    process.kill()
    process.communicate()
    said = project.zenml("run", "cancel", "last")
    assert "is cancelled" in said.stdout, said.stderr
    assert project.runners() == []


def test_a_runner_that_was_given_up_ends_by_itself(project):
    project.run("sleep", "detach=1")
    project.wait_until(project.marker.exists)
    [task] = (project.folder / ".zenml" / "store" / "runs").glob("*/jobs/plan/1/task.json")
    outcome = {"status": "failed", "attempt": 1, "finished": "", "by": "client"}
    failure = {"cause": "LOST", "type": "Job", "message": "no sign of life"}
    (task.parent / "outcome.json").write_text(json.dumps({**outcome, "failure": failure}))
    project.wait_until(lambda: not project.runners())
