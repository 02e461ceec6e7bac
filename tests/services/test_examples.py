"""The examples, as their README says, against the stand-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import IMAGE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "example",
    [
        ["train_on_vertex.py", "--trainer", "sklearn", "--spot"],
        ["run_on_a_machine.py", "--image", IMAGE],
    ],
    ids=["vertex", "machine"],
)
def test_the_example_runs(example: list[str]) -> None:
    script, *arguments = example
    services = [sys.executable, "tests/services/harness"]
    done = subprocess.run(
        [*services, sys.executable, f"examples/gcp/{script}", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Arrives more than 15 minutes late?" in done.stdout
    assert "trainer succeeded" in done.stdout
