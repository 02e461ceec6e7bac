"""The example, as its README says, against the stand-in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_runs() -> None:
    services = [sys.executable, "tests/services/harness"]
    done = subprocess.run(
        [*services, sys.executable, "examples/dataflow/process_on_dataflow.py"],
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
    assert "preprocesser succeeded" in done.stdout
