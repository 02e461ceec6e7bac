"""Runs the quickstart as its reader does, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the quickstart's script and nothing else."""
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "run.py").write_text((QUICKSTART / "run.py").read_text(encoding="utf-8"))
    return folder


@pytest.fixture(scope="module")
def python(project: Path) -> Command:
    """Runs Python with arguments in the project."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=project,
            env={**os.environ, "COLUMNS": "120", **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run
