"""``zenml run resume``: the plan of a run that did not succeed, taken up again."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest


def statuses(run) -> dict[str, str]:
    return {step["step"]: step["status"] for step in run["steps"]}


@pytest.fixture
def failed(project):
    """A project whose last run failed for want of a file, which is there now."""
    script = (project.folder / "train.py").read_text(encoding="utf-8")
    needed = project.marker.with_name("needed")
    wanted = f'if how == "raise" and not Path({str(needed)!r}).exists():'
    script = script.replace('if how == "raise":', wanted)
    (project.folder / "train.py").write_text(script, encoding="utf-8")
    assert project.run("raise").returncode == 1
    needed.touch()
    return project


def test_a_new_run_of_the_same_plan_finds_finished_steps_in_the_cache(failed):
    before = failed.last()
    resumed = failed.zenml("run", "resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert f"resuming run {before['run']['run']}, which failed" in resumed.stderr
    assert "1 of 3 steps were finished" in resumed.stderr
    run = failed.last()
    assert run["run"]["run"] != before["run"]["run"]
    assert run["run"]["plan"] == before["run"]["plan"]
    assert statuses(run) == {"number": "cached", "work": "succeeded", "train": "succeeded"}
    shown = failed.zenml("run", "show", "last").stdout
    assert f"resumes run {before['run']['run']}" in shown
    assert failed.runners() == []


def test_it_can_be_detached(failed):
    resumed = failed.zenml("run", "resume", "last", "--detach")
    assert "goes on; zenml run attach" in resumed.stdout, resumed.stderr
    assert failed.zenml("run", "wait", "last").returncode == 0


def test_it_works_where_only_the_store_is(failed, tmp_path):
    store = (failed.folder / ".zenml" / "store").as_uri()
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".zenml").mkdir(parents=True)
    resumed = subprocess.run(
        [sys.executable, "-m", "_zenml_main", "run", "resume", "last", "--store", store],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "the code that it was started with is used" in resumed.stderr
    assert failed.last()["status"] == "succeeded"


def test_code_that_changed_since_is_said_and_not_used(failed):
    (failed.folder / "helper.py").write_text("def twice(value):\n    return 3 * value\n")
    resumed = failed.zenml("run", "resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert "is not that of run" in resumed.stderr
    assert "run the pipeline again" in resumed.stderr
    assert statuses(failed.last())["number"] == "cached"


def test_code_that_is_nowhere_any_more_is_refused(failed):
    shutil.rmtree(failed.folder / ".zenml" / "store" / "code")
    (failed.folder / "helper.py").write_text("def twice(value):\n    return 3 * value\n")
    before = failed.last()["run"]["run"]
    resumed = failed.zenml("run", "resume", "last")
    assert resumed.returncode == 1
    assert "cannot be resumed here: the code is not the code" in resumed.stderr
    assert "run the pipeline again" in resumed.stderr
    assert failed.last()["run"]["run"] == before


def test_a_run_that_goes_on_or_succeeded_is_refused_with_what_to_do(project):
    project.run("sleep", "detach=1")
    project.wait_until(project.marker.exists)
    refused = project.zenml("run", "resume", "last")
    assert refused.returncode == 1
    assert "still going on" in refused.stderr
    assert "zenml run cancel" in refused.stderr
    project.zenml("run", "cancel", "last")
    project.run("fine")
    refused = project.zenml("run", "resume", "last")
    assert refused.returncode == 1
    assert "nothing to resume" in refused.stderr


def test_a_run_shows_the_code_and_the_commit_that_it_used(project):
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    for words in (["init", "-q"], ["add", "train.py"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=project.folder, check=True)
    assert project.run("fine").returncode == 0
    code = project.last()["code"]
    assert code["dirty"] is False
    shown = project.zenml("run", "show", "last").stdout
    assert f"code {code['bundle'][:12]}" in shown
    assert f"commit {code['commit'][:12]}\n" in shown
    bundles = (project.folder / ".zenml" / "store" / "code").iterdir()
    assert [path.name for path in bundles] == [f"{code['bundle']}.tar.gz"]
    with (project.folder / "train.py").open("a") as file:
        file.write("# a change\n")
    assert project.run("fine").returncode == 0
    shown = project.zenml("run", "show", "last").stdout
    assert f"commit {code['commit'][:12]} with changes" in shown
