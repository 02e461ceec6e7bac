"""A project with a pipeline, and backends of a few lines each, for whole processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenml.core.testing import Project

BACKENDS = """
from zenml.core import OrchestratorBackend, ProcessingBackend, execute_unit

class Here(OrchestratorBackend):
    def run(self, work):
        work.execute_here()

class InOrder(ProcessingBackend):
    region: str = "here"

    def map(self, units, context):
        for index, unit in enumerate(units):
            yield index, execute_unit(unit, context)

MINE = [Here(), InOrder()]
"""

TRAIN = """
import sys
from backends_of_mine import MINE, InOrder
from helper_of_mine import scale
from zenml.pipelines import Pipeline, step

@step
def numbers(count: int = 3):
    return list(range(count))

@step
def total(values, factor: int = 1):
    return scale(sum(values), factor)

print("the script says something")
pipeline = Pipeline("sums", backends=MINE)
pipeline.add_step(numbers(count=int(sys.argv[1]) if len(sys.argv) > 1 else 3))
pipeline.add_step(total().with_backend(InOrder(region="there")), inputs={"values": "numbers"})
run = pipeline.run()
print("total:", run.load("total"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with ``train.py``, a helper and backends."""
    files = {
        "backends_of_mine.py": BACKENDS,
        "helper_of_mine.py": "def scale(value, factor):\n    return value * factor\n",
        "train.py": TRAIN,
    }
    return Project(tmp_path / "project", files)
