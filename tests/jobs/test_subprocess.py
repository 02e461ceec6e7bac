"""A plan as a job: submitted, watched, cancelled, retried, and never lied about."""

from __future__ import annotations

import json
import os
import signal

import pytest


def cause(run) -> str:
    return run["outcome"]["failure"]["cause"]


def statuses(run) -> dict[str, str]:
    return {step["step"]: step["status"] for step in run["steps"]}


def objects(project, pattern: str) -> list:
    return sorted((project.folder / ".zenml" / "store" / "runs").glob(pattern))


def test_a_plan_runs_elsewhere_with_the_repositorys_code_and_a_trainer_in_a_job_of_its_own(project):
    done = project.run("fine")
    assert done.returncode == 0, done.stderr
    run = project.last()
    assert run["status"] == "succeeded"
    assert statuses(run) == dict.fromkeys(["number", "work", "train"], "succeeded")
    assert len(objects(project, "*/jobs/*/1/outcome.json")) == 2
    assert project.runners() == []
    assert list(project.jobs.iterdir()) == []  # every job's folder was tidied up


def test_the_same_run_here_finds_everything_in_the_cache(project):
    project.run("fine")
    plan = json.loads(
        project.zenml(
            "plan", "--json", "train.py", "fine", str(project.jobs), str(project.marker)
        ).stdout
    )
    assert {row["status"] for row in plan} == {"cached"}


def test_what_the_job_printed_is_in_the_store_without_secrets(project):
    project.run("fine")
    logs = project.zenml("run", "logs", "last").stdout
    assert "number 4" in logs
    assert "work fine [redacted]" in logs
    assert project.environment["DEMO_TOKEN"] not in logs
    for path in (project.folder / ".zenml" / "store").rglob("*"):
        if path.is_file():
            assert project.environment["DEMO_TOKEN"].encode() not in path.read_bytes(), path


def test_an_error_in_the_users_code_comes_back_with_its_own_traceback_and_is_not_retried(project):
    done = project.run("raise")
    assert done.returncode == 1
    assert "step 'work' failed: ValueError: no good: ü" in done.stderr
    run = project.last()
    assert run["status"] == "failed"
    assert cause(run) == "USER_ERROR"
    assert statuses(run) == {"number": "succeeded", "work": "failed", "train": "skipped"}
    [failed] = [step for step in run["steps"] if step["status"] == "failed"]
    assert 'raise ValueError("no good' in failed["failure"]["traceback"]
    assert len(objects(project, "*/jobs/plan/*/outcome.json")) == 1


@pytest.mark.parametrize(("how", "expected"), [("memory", "OOM"), ("exit", "USER_ERROR")])
def test_each_end_has_its_typed_cause(project, how, expected):
    assert project.run(how).returncode == 1
    run = project.last()
    assert (run["status"], cause(run)) == ("failed", expected)
    assert project.runners() == []


def test_a_job_that_takes_too_long_is_ended(project):
    done = project.run("sleep", "timeout=3")
    assert done.returncode == 1
    run = project.last()
    assert (run["status"], cause(run)) == ("failed", "TIMEOUT")
    assert project.runners() == []


def test_a_runner_that_is_killed_is_lost_and_never_a_success(project):
    process = project.start("sleep")
    project.wait_until(project.marker.exists)
    supervisor, *_ = project.runners()
    project.marker.unlink()
    os.kill(supervisor, signal.SIGKILL)
    # One retry is worth it.
    project.wait_until(project.marker.exists)
    assert len(objects(project, "*/jobs/plan/2/task.json")) == 1
    os.kill(project.runners()[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    run = project.last()
    assert (run["status"], cause(run)) == ("failed", "LOST")
    assert "trying again" in errors
    assert project.runners() == []


def test_a_machine_that_is_taken_away_is_a_preemption_and_the_work_goes_on(project):
    process = project.start("sleep")
    project.wait_until(project.marker.exists)
    supervisor, *_ = project.runners()
    project.marker.unlink()
    os.kill(supervisor, signal.SIGTERM)
    project.wait_until(project.marker.exists)
    first = json.loads(objects(project, "*/jobs/plan/1/outcome.json")[0].read_bytes())
    assert first["failure"]["cause"] == "PREEMPTED"
    project.zenml("run", "cancel", "last")
    process.communicate(timeout=60)
    assert project.last()["status"] == "cancelled"
    printed = [
        "".join(path.read_text() for path in objects(project, f"*/jobs/plan/{n}/log-*"))
        for n in (1, 2)
    ]
    assert "number 4" in printed[0]
    assert "number 4" not in printed[1]
    assert "work sleep" in printed[1]


def test_ctrl_c_ends_the_job_too(project):
    process = project.start("sleep")
    project.wait_until(project.marker.exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert project.runners() == []
    assert project.last()["status"] == "cancelled"


def test_a_detached_run_outlives_its_client_and_can_be_waited_for_from_another_process(project):
    done = project.run("fine", "detach=1")
    assert done.returncode == 0, done.stderr
    waited = project.zenml("run", "wait", "last")
    assert waited.returncode == 0, waited.stderr
    assert project.last()["status"] == "succeeded"


def test_a_run_is_cancelled_from_another_process(project):
    project.run("sleep", "detach=1")
    project.wait_until(project.marker.exists)
    assert project.last()["status"] == "running"
    cancelled = project.zenml("run", "cancel", "last")
    assert "is cancelled" in cancelled.stdout, cancelled.stderr
    assert project.runners() == []
    assert project.last()["status"] == "cancelled"


def test_a_client_that_is_killed_leaves_a_run_that_another_one_sees_through(project):
    process = project.start("sleep")
    project.wait_until(project.marker.exists)
    process.kill()
    process.communicate()
    assert project.last()["status"] == "running"
    project.zenml("run", "cancel", "last")
    assert project.last()["status"] == "cancelled"
    assert project.runners() == []


def test_code_outside_the_repository_is_refused_before_anything_runs(project, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (project.folder / "helper.py").rename(outside / "helper.py")
    script = (project.folder / "train.py").read_text(encoding="utf-8")
    script = f"import sys; sys.path.insert(0, {str(outside)!r})\n{script}".replace(
        "@step\ndef number", "from helper import number as elsewhere\n\n@step\ndef number", 1
    )
    (outside / "helper.py").write_text(
        "from zenml.pipelines import step\n\ndef twice(value):\n    return 2 * value\n\n"
        "@step\ndef number(value: int) -> int:\n    return value\n"
    )
    script = script.replace("number(value=4), name", "elsewhere(value=4), name")
    (project.folder / "train.py").write_text(script, encoding="utf-8")
    done = project.run("fine")
    assert done.returncode == 1
    assert "is outside the repository" in done.stderr
    assert not project.marker.exists()
    assert project.last()["status"] == "failed"
