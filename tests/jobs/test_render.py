"""A plan's job, prepared by ``zenml plan --render`` and started by hand from what that printed."""

from __future__ import annotations

import os
import subprocess

import yaml


def test_the_rendered_command_is_the_run_and_nothing_is_started_beside_it(project):
    arguments = ("train.py", "fine", str(project.jobs), str(project.marker))
    rendered = project.zenml("plan", "--render", *arguments)
    assert rendered.returncode == 0, rendered.stderr
    assert "what step 'train' will ask of training backend 'subprocess'" in rendered.stderr
    assert not project.jobs.exists()
    [spec] = yaml.safe_load_all(rendered.stdout)

    os.makedirs(spec["folder"])
    done = subprocess.run(
        spec["command"],
        cwd=spec["folder"],
        env={**project.environment, **spec["environment"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    waited = project.zenml("run", "wait", "last")

    assert waited.returncode == 0, waited.stderr
    run = project.last()
    assert run["status"] == "succeeded"
    assert [step["step"] for step in run["steps"]] == ["number", "work", "train"]
    folder = project.folder / ".zenml" / "store" / "runs" / run["run"]["run"] / "jobs" / "plan"
    assert sorted(found.name for found in folder.iterdir()) == ["1", "request.json"]
    assert not os.path.exists(spec["folder"])  # tidied up after, as after any job
    assert project.runners() == []
