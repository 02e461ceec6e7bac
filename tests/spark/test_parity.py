"""The standard steps on Spark: the same artifacts as on this machine, to the byte."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Standalone

from zenml.core.testing import Project

EXAMPLES = Path(__file__).parents[2] / "examples"

SCRIPT = """
import json, shutil, sys
from pathlib import Path
import run as quickstart
from zenml.local import ProcessingLocalBackend
from zenml.spark import ProcessingSparkBackend

told = json.loads(sys.argv[1])
# Where workers elsewhere find it as well.
data = Path(told["data"])
if not data.exists():
    shutil.copy(quickstart.flights_csv(), data)
quickstart.flights_csv = lambda: data
options = told["options"]
backend = ProcessingSparkBackend(**options) if options else ProcessingLocalBackend()
run = quickstart.build(seed=0).run(backends={"processing": backend}, artifact_store=told["store"])
print(json.dumps({name: record.outputs for name, record in run.steps.items()}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project", {"main.py": SCRIPT})
    shutil.copy(EXAMPLES / "quickstart" / "run.py", made.folder)
    yield made
    made.end_processes()


@pytest.fixture
def digests(project: Project, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the quickstart in a store of its own; step and output to artifact digest."""

    def run(name: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
        data = str(tmp_path / "flights.csv.zip")
        told = {"store": (tmp_path / name).as_uri(), "data": data, "options": options}
        done = project.run("main.py", json.dumps(told), timeout=900)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return run


def test_the_quickstart_gives_the_same_bytes(
    standalone: Standalone, digests: Callable[..., dict[str, Any]]
) -> None:
    here = digests("here")
    assert digests("local", {"master": "local[2]"}) == here
    conf = {"spark.cores.max": "2", "spark.driver.host": "127.0.0.1"}
    cluster = {"master": standalone.url, "python": sys.executable, "conf": conf}
    assert digests("cluster", cluster) == here


def test_the_example_runs(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    script = EXAMPLES / "spark" / "on_spark.py"

    done = project.run(str(script), timeout=900)

    assert done.returncode == 0, done.stderr
    assert "Arrives more than 15 minutes late?" in done.stdout
    assert "evaluator succeeded" in done.stdout
