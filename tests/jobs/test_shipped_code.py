"""A job whose steps ship their code on: to workers that see neither the client nor the job."""

from __future__ import annotations

import json
import os
from pathlib import Path

from zenml.core.testing import Project

SCRIPT = '''
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
from helper import twice
from zenml.core import ProcessingBackend, ship_code
from zenml.local import OrchestratorLocalBackend, OrchestratorSubprocessBackend
from zenml.pipelines import Pipeline, StepContext, step

WORKER = """
import json, sys
import msgspec
from zenml.core import MapContext, Unit, execute_unit
told = json.load(sys.stdin)
context = msgspec.convert(told["context"], MapContext)
for unit in msgspec.convert(told["units"], list[Unit]):
    print(json.dumps(execute_unit(unit, context)))
"""


class Elsewhere(ProcessingBackend):
    def map(self, units, context):
        Path("left by a job.txt").write_text("no part of the code")
        told = {"units": units, "context": ship_code(context)}
        done = subprocess.run(
            [sys.executable, "-c", WORKER],
            input=json.dumps(msgspec.to_builtins(told)),
            cwd="/",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        yield from enumerate(map(json.loads, done.stdout.splitlines()))


def double(payload, files):
    return [twice(payload), Path(__file__).parent.name]


@step
def doubled(context: StepContext, last: int) -> list:
    return context.map(double, range(last))


backend = OrchestratorSubprocessBackend() if "job" in sys.argv else OrchestratorLocalBackend()
pipeline = Pipeline("shipped")
pipeline.add_step(doubled(last=3), name="doubled")
print(json.dumps(pipeline.run(backend, backends={"processing": Elsewhere()}).load("doubled")))
'''


def test_the_bundle_that_a_job_was_sent_is_the_one_that_its_workers_get(tmp_path: Path) -> None:
    project = Project(
        tmp_path / "project",
        {"train.py": SCRIPT, "helper.py": "def twice(value):\n    return 2 * value\n"},
    )
    variables = {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    job = project.run("train.py", "job", variables=variables)

    assert job.returncode == 0, job.stderr
    [archive] = os.listdir(project.folder / ".zenml" / "store" / "code")
    code = archive.removesuffix(".tar.gz")
    assert json.loads(job.stdout) == [[0, code], [2, code], [4, code]]


def test_a_script_without_a_guard_ships_what_it_is(tmp_path: Path) -> None:
    project = Project(
        tmp_path / "project",
        {"train.py": SCRIPT, "helper.py": "def twice(value):\n    return 2 * value\n"},
    )
    variables = {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    here = project.run("train.py", "here", variables=variables)

    assert here.returncode == 0, here.stderr
    assert [number for number, _ in json.loads(here.stdout)] == [0, 2, 4]
