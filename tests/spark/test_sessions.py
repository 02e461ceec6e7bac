"""A map beside what the user has: a session of their own, and secrets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from zenml.core.testing import Project, processes_of_group

STEPS = """
import os
from zenml.pipelines import StepContext, step

def token_and_square(payload, files):
    return [os.environ["ACME_TOKEN"] == "sesame", payload * payload]

@step
def squares(context: StepContext) -> list:
    return context.map(token_and_square, range(5))
"""

SCRIPT = """
import json, threading
from pyspark.sql import SparkSession
from steps_on_spark import squares
from zenml.pipelines import Pipeline
from zenml.spark import ProcessingSparkBackend

settings = SparkSession.builder.master("local[1]").appName("mine")
settings = settings.config("spark.ui.enabled", "false").config("spark.driver.host", "127.0.0.1")
session = settings.getOrCreate()
before = session.sparkContext.applicationId
session.sparkContext.parallelize(range(4), 2).sum()
threads = {thread.name for thread in threading.enumerate()}

pipeline = Pipeline("squares")
pipeline.add_step(squares(), name="squares")
secrets = {"spark.executorEnv.ACME_TOKEN": "env:SECRET"}
spark = ProcessingSparkBackend(master="local[2]", secret_conf=secrets)
run = pipeline.run(backends={"processing": spark}, progress=False)

found = {
    "squares": run.load("squares"),
    "same": SparkSession.getActiveSession().sparkContext.applicationId == before,
    "works": session.sparkContext.parallelize(range(4), 2).sum(),
    "threads": sorted({thread.name for thread in threading.enumerate()} - threads),
}
session.stop()
print(json.dumps(found))
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project", {"main.py": SCRIPT, "steps_on_spark.py": STEPS})
    yield made
    made.end_processes()


def test_a_session_of_the_users_goes_on_and_a_secret_is_written_nowhere(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    variables = {"SECRET": "sesame", "TMPDIR": str(tmp_path / "tmp")}

    process = project.start("main.py", variables=variables)
    output, errors = process.communicate(timeout=300)

    assert process.returncode == 0, errors
    assert json.loads(output.splitlines()[-1]) == {
        "squares": [[True, number * number] for number in range(5)],
        "same": True,
        "works": 6,
        "threads": [],
    }
    assert processes_of_group(process.pid) == []
    left = [name for name in os.listdir(tmp_path / "tmp") if name.startswith("zenml-")]
    assert left == []
    written = [file for file in project.folder.rglob("*") if file.is_file()]
    assert written
    # The script itself knows it, and so does what Python compiles of it.
    code = (".py", ".pyc")
    assert [f for f in written if b"sesame" in f.read_bytes() and f.suffix not in code] == []
