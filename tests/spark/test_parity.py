"""The standard steps on Spark: the same artifacts as on this machine, to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import Standalone

from zenml.core.testing import Project

if TYPE_CHECKING:
    from tests.conftest import DataPath

SCRIPT = Path(__file__).parents[2] / "examples" / "spark" / "on_spark.py"

BACKEND = "zenml.spark:ProcessingSparkBackend"


@pytest.fixture
def only(request: pytest.FixtureRequest, data_path: DataPath) -> tuple[str, ...] | None:
    """The steps; None for all of them."""
    return None if request.config.getoption("full_parity") else data_path.one_of_each


def test_a_standalone_cluster_makes_the_same_artifacts(
    standalone: Standalone, data_path: DataPath, only: tuple[str, ...] | None
) -> None:
    found = data_path.digests(BACKEND, standalone.options, only=only, steps=2)

    assert found == data_path.expected(only)


def test_this_machine_makes_the_same_artifacts(
    data_path: DataPath, only: tuple[str, ...] | None
) -> None:
    if only is not None:
        pytest.skip("each map starts a JVM: with --full-parity")
    found = data_path.digests(BACKEND, {"master": "local[2]"}, steps=2)

    assert found == data_path.expected()


def test_the_example_runs(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")

    done = project.run(str(SCRIPT), timeout=900)

    assert done.returncode == 0, done.stderr
    assert "Arrives more than 15 minutes late?" in done.stdout
    assert "evaluator succeeded" in done.stdout
