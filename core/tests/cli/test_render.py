"""``zenml plan FILE --render``: a run is prepared, and started from what was printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from zenml.core.testing import Project, wait_until

SERVICE = '''
"""A service that carries each job once, whoever asks for it, as long as its name is known."""

import json
import os
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parent / "service"
WRAPPED = 'code=1; "$@" > log 2>&1 && code=0; echo $code > code'

def apply(documents):
    [job] = [one for one in documents if one["kind"] == "Job"]
    folder = HOME / job["name"]
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    with open(HOME / "started", "a") as file:
        file.write(job["name"] + "\\n")
    (folder / "spec.json").write_text(json.dumps(documents))
    subprocess.Popen(
        ["sh", "-c", WRAPPED, "sh", *job["command"]], cwd=folder, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )

if __name__ == "__main__":
    import yaml

    apply(list(yaml.safe_load_all(sys.stdin)))
'''

BACKENDS = """
import shutil
import sys

import service_of_mine as service
from zenml.core import (
    Handle, JobOrchestratorBackend, JobState, LogPage, OrchestratorBackend, ProcessingBackend,
    execute_unit,
)
from zenml.core.errors import BackendError

class OnService(JobOrchestratorBackend):
    note: str = "y"

    def render(self, job):
        if self.note == "refused":
            raise BackendError("no note may say that")
        print("a backend says something")
        command = list(job.command(sys.executable))
        return [
            {"kind": "Note", "says": self.note},
            {"kind": "Job", "name": job.name, "command": command},
        ]

    def submit(self, job):
        service.apply(self.render(job))
        return Handle(job=job.name)

    def poll(self, handle):
        folder = service.HOME / handle.job
        if not folder.exists():
            return JobState(phase="gone")
        code = folder / "code"
        if not code.exists() or not code.read_text():
            return JobState(phase="running")
        return JobState(phase="failed" if int(code.read_text()) else "succeeded")

    def logs(self, handle, cursor=""):
        return LogPage((), cursor)

    def cancel(self, handle, grace):
        pass

    def cleanup(self, handle):
        shutil.rmtree(service.HOME / handle.job, ignore_errors=True)

class Here(OrchestratorBackend):
    def run(self, work):
        work.execute_here()

class Elsewhere(ProcessingBackend):
    def map(self, units, context):
        for index, unit in enumerate(units):
            yield index, execute_unit(unit, context)
"""

TRAIN = """
import sys
import time
from pathlib import Path

import backends_of_mine
from zenml.pipelines import Pipeline, step

@step
def numbers(gate: str):
    while not Path(gate).exists():
        time.sleep(0.02)
    return [1, 2, 3]

if __name__ == "__main__":
    print("the script says something")
    backend, gate, *parameters = sys.argv[1:]
    pipeline = Pipeline("prepared", backends=[backends_of_mine.Elsewhere()])
    pipeline.add_step(numbers(gate=gate))
    given = dict(one.split("=") for one in parameters)
    pipeline.run(getattr(backends_of_mine, backend)(**given))
"""


class Prepared(Project):
    """The project, and what a user does in it."""

    @property
    def gate(self) -> Path:
        """The step waits for this file."""
        return self.folder / "gate"

    def render(self, backend: str = "OnService", *options: str) -> subprocess.CompletedProcess[str]:
        return self.zenml("plan", "--render", "train.py", backend, str(self.gate), *options)

    def apply(self, rendered: str) -> None:
        """Start by hand what was rendered."""
        subprocess.run(
            [sys.executable, "service_of_mine.py"],
            cwd=self.folder,
            input=rendered,
            text=True,
            check=True,
        )

    def started(self) -> list[str]:
        """Names of the jobs that the service has begun."""
        file = self.folder / "service" / "started"
        return file.read_text().split() if file.exists() else []

    def show(self, run: str = "last") -> Any:
        return json.loads(self.zenml("run", "show", run, "--json").stdout)

    def stored(self, pattern: str) -> list[Path]:
        return sorted((self.folder / ".zenml" / "store").glob(pattern))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Prepared]:
    files = {
        "service_of_mine.py": SERVICE,
        "backends_of_mine.py": BACKENDS,
        "train.py": TRAIN,
    }
    made = Prepared(tmp_path / "project", files)
    yield made
    made.gate.touch()  # no job of a failed test waits for ever


def run_of(answer: subprocess.CompletedProcess[str]) -> str:
    """The run that was prepared."""
    [line] = [line for line in answer.stderr.splitlines() if line.startswith("prepared run ")]
    return line.split()[2]


class TestWhatIsPrinted:
    def test_is_every_document_of_the_specification_and_nothing_else(
        self, project: Prepared
    ) -> None:
        answer = project.render()

        assert answer.returncode == 0, answer.stderr
        note, job = yaml.safe_load_all(answer.stdout)
        assert note == {"kind": "Note", "says": "y"}
        assert job["name"] == f"zenml-{run_of(answer).replace('-', '')[-22:]}-1"
        assert "zenml.core.runner" in job["command"]
        assert "the script says something" in answer.stderr
        assert "a backend says something" in answer.stderr

    def test_can_be_read_by_those_who_take_a_letter_for_a_truth(self, project: Prepared) -> None:
        assert "says: 'y'" in project.render().stdout

    def test_names_the_run_its_store_and_how_to_follow_it_on_standard_error(
        self, project: Prepared
    ) -> None:
        answer = project.render()

        store = (project.folder / ".zenml" / "store").as_uri()
        assert f"of pipeline 'prepared' in {store}\n" in answer.stderr
        assert f"  zenml run wait {run_of(answer)} sees it through" in answer.stderr

    def test_says_that_what_steps_ask_of_their_backends_is_not_in_it(
        self, project: Prepared
    ) -> None:
        assert (
            "not in it: what step 'numbers' will ask of processing backend "
            "'import:backends_of_mine:Elsewhere'"
        ) in project.render().stderr

    def test_says_which_store_a_run_is_in_that_is_not_in_the_repositorys(
        self, project: Prepared, tmp_path: Path
    ) -> None:
        url = (tmp_path / "other").as_uri()
        script = ("train.py", "OnService", str(project.gate))

        answer = project.zenml("plan", "--render", "--store", url, *script)

        assert f"zenml run wait {run_of(answer)} --store {url} sees it" in answer.stderr
        project.gate.touch()
        assert project.zenml("run", "wait", "last", "--store", url).returncode == 0


class TestWhatIsStored:
    def test_is_what_a_submission_stores_before_the_service_is_asked(
        self, project: Prepared
    ) -> None:
        run = run_of(project.render())

        found = project.stored("runs/**/*.json")
        assert [str(path).partition(f"{run}{os.sep}")[2] for path in found] == [
            "jobs/plan/1/task.json",
            "jobs/plan/request.json",
            "run.json",
        ]
        assert len(project.stored("plans/*")) == 1
        assert len(project.stored("code/*")) == 1
        assert project.started() == []

    def test_each_time_is_another_run(self, project: Prepared) -> None:
        first, second = project.render(), project.render()

        assert run_of(first) != run_of(second)
        assert first.stdout != second.stdout
        assert len(project.stored("runs/*/run.json")) == 2


class TestARunThatIsStartedByHand:
    def test_is_one_job_that_a_later_client_finds(self, project: Prepared) -> None:
        rendered = project.render()
        run = run_of(rendered)
        project.apply(rendered.stdout)

        client = project.start("-m", "_zenml_main", "run", "wait", run)
        wait_until(lambda: project.stored("runs/*/jobs/plan/1/handle.json"), timeout=60)
        project.gate.touch()
        _, told = client.communicate(timeout=60)

        assert client.returncode == 0, told
        assert len(project.started()) == 1
        assert project.show(run)["status"] == "succeeded"
        assert len(project.stored("runs/*/jobs/plan/*/outcome.json")) == 1
        assert not list((project.folder / "service").glob("zenml-*"))  # tidied up after

    def test_may_have_ended_before_anybody_waits(self, project: Prepared) -> None:
        rendered = project.render()
        project.gate.touch()
        project.apply(rendered.stdout)
        wait_until(lambda: project.stored("runs/*/jobs/plan/1/outcome.json"), timeout=60)

        waited = project.zenml("run", "wait", run_of(rendered))

        assert waited.returncode == 0, waited.stderr
        assert len(project.started()) == 1

    def test_is_what_a_submission_would_have_sent(self, project: Prepared) -> None:
        rendered = project.render()

        client = project.start("-m", "_zenml_main", "run", "wait", run_of(rendered))
        sent = project.folder / "service"
        [file] = wait_until(lambda: list(sent.glob("*/spec.json")), timeout=60)
        wait_until(file.read_text, timeout=60)
        assert json.loads(file.read_text()) == list(yaml.safe_load_all(rendered.stdout))
        project.gate.touch()
        client.communicate(timeout=60)

        assert client.returncode == 0
        assert len(project.started()) == 1


class TestARunThatNobodyStarts:
    def test_is_started_by_whoever_waits_for_it(self, project: Prepared) -> None:
        run = run_of(project.render())
        project.gate.touch()

        waited = project.zenml("run", "wait", run)

        assert waited.returncode == 0, waited.stderr
        assert len(project.started()) == 1
        assert project.show(run)["status"] == "succeeded"

    def test_can_be_cancelled_and_is_never_started_then(self, project: Prepared) -> None:
        rendered = project.render()
        project.gate.touch()

        assert "is cancelled" in project.zenml("run", "cancel", "last").stdout
        project.apply(rendered.stdout)
        [name] = project.started()
        code = project.folder / "service" / name / "code"
        wait_until(lambda: code.exists() and code.read_text(), timeout=60)

        assert project.show()["status"] == "cancelled"
        assert project.show()["steps"] == []

    def test_is_collected_after_its_grace_and_does_nothing_if_it_is_started_then(
        self, project: Prepared
    ) -> None:
        rendered = project.render()
        project.gate.touch()
        assert "jobs" not in project.zenml("gc", "--yes").stdout
        for path in project.stored("**/*.*"):
            if path.name != "zenml-store.json":
                os.utime(path, (1_000_000_000, 1_000_000_000))

        collected = project.zenml("gc", "--yes").stdout

        assert "of whose submission nothing is known" in collected
        assert "ended and tidied up 1 of 1 jobs" in collected
        project.apply(rendered.stdout)
        [name] = project.started()
        code = project.folder / "service" / name / "code"
        wait_until(lambda: code.exists() and code.read_text(), timeout=60)
        assert project.show()["steps"] == []


class TestWhatCannotBeRendered:
    def test_a_plan_that_runs_where_its_client_is_starts_no_job(self, project: Prepared) -> None:
        answer = project.render("Here")

        assert answer.returncode == 1
        assert answer.stdout == ""
        assert "starts no job of its own, so there is nothing to render" in answer.stderr
        assert project.stored("runs/*") == []

    def test_a_specification_that_the_backend_refuses_ends_its_run(self, project: Prepared) -> None:
        answer = project.render("OnService", "note=refused")

        assert answer.returncode == 1
        assert answer.stdout == ""
        assert "no note may say that" in answer.stderr
        assert project.show()["status"] == "failed"

    def test_code_that_is_not_the_plans_any_more(self, project: Prepared) -> None:
        script = ("train.py", "OnService", str(project.gate))
        plan = project.zenml("plan", "--yaml", *script).stdout
        (project.folder / "plan.yaml").write_text(plan)
        source = project.folder / "train.py"
        source.write_text(source.read_text().replace("[1, 2, 3]", "[1, 2]"))

        answer = project.zenml("plan", "plan.yaml", "--render")

        assert answer.returncode == 1
        assert answer.stdout == ""
        assert project.stored("runs/*") == []

    @pytest.mark.parametrize("option", ["--yaml", "--json"])
    def test_a_plan_that_is_to_be_shown_otherwise(self, project: Prepared, option: str) -> None:
        answer = project.zenml("plan", "train.py", "--render", option)

        assert answer.returncode == 2
        assert "--render" in answer.stderr


def test_a_plan_that_was_written_down_is_rendered_too(project: Prepared) -> None:
    script = ("train.py", "OnService", str(project.gate))
    plan = project.zenml("plan", "--yaml", *script).stdout
    (project.folder / "plan.yaml").write_text(plan)

    answer = project.zenml("plan", "plan.yaml", "--render")

    assert answer.returncode == 0, answer.stderr
    project.gate.touch()
    project.apply(answer.stdout)
    assert project.zenml("run", "wait", run_of(answer)).returncode == 0
    assert len(project.started()) == 1
