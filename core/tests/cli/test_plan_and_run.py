"""``zenml plan FILE`` and ``zenml run FILE``, as whole processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zenml.core.testing import Project


def files_of(project: Project) -> set[str]:
    found = (path for path in project.folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(project.folder)) for path in found}


def edit(project: Project, name: str, old: str, new: str) -> None:
    path = project.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


class TestPlanOfAScript:
    def test_it_shows_every_step_its_backend_and_why_it_would_run(self, project: Project) -> None:
        answer = project.zenml("plan", "train.py")

        lines = answer.stdout.splitlines()
        assert answer.returncode == 0
        assert lines[0].endswith("of base pipeline 'sums'")
        assert "numbers" in answer.stdout
        assert "import:backends_of_mine:InOrder" in answer.stdout
        assert lines[-1] == "0 cached, 1 to run, 1 open"

    def test_it_runs_nothing_and_writes_nothing(self, project: Project) -> None:
        before = files_of(project)

        answer = project.zenml("plan", "train.py")

        assert "total:" not in answer.stdout + answer.stderr
        assert files_of(project) == before

    def test_what_the_script_prints_does_not_get_into_it(self, project: Project) -> None:
        answer = project.zenml("plan", "train.py", "--json")

        assert [row["name"] for row in json.loads(answer.stdout)] == ["numbers", "total"]
        assert "the script says something" in answer.stderr

    def test_after_a_run_everything_is_cached(self, project: Project) -> None:
        assert project.run("train.py").returncode == 0

        answer = project.zenml("plan", "train.py")

        assert answer.stdout.count("be cached  made by run") == 2
        assert answer.stdout.splitlines()[-1] == "2 cached, 0 to run, 0 open"

    def test_an_edited_helper_is_named(self, project: Project) -> None:
        # Regression: neither uncommitted edits nor those of helpers made a step run again.
        project.run("train.py")
        edit(project, "helper_of_mine.py", "value * factor", "value * factor + 1")

        answer = project.zenml("plan", "train.py")

        assert "code: helper_of_mine changed since run" in answer.stdout
        assert answer.stdout.splitlines()[-1] == "1 cached, 1 to run, 0 open"
        assert "total: 4" in project.run("train.py").stdout

    def test_an_edited_comment_is_not(self, project: Project) -> None:
        project.run("train.py")
        edit(project, "helper_of_mine.py", "def scale", "# a comment\ndef scale")

        assert "2 cached" in project.zenml("plan", "train.py").stdout

    def test_an_edited_step_is_named(self, project: Project) -> None:
        project.run("train.py")
        edit(project, "train.py", "list(range(count))", "list(range(count + 1))")

        assert "code: train:numbers changed" in project.zenml("plan", "train.py").stdout

    def test_a_changed_parameter_is_named(self, project: Project) -> None:
        project.run("train.py")

        assert "parameter count: 3 -> 4" in project.zenml("plan", "train.py", "4").stdout

    def test_another_name_of_the_pipeline_changes_nothing(self, project: Project) -> None:
        project.run("train.py")
        edit(project, "train.py", '"sums"', '"other"')

        assert "2 cached" in project.zenml("plan", "train.py").stdout

    def test_two_plans_are_compared(self, project: Project) -> None:
        yaml = project.zenml("plan", "train.py", "4", "--yaml").stdout
        (project.folder / "four.yaml").write_text(yaml)

        answer = project.zenml("plan", "train.py", "--diff", "four.yaml")

        assert answer.stdout.splitlines() == ["~ steps.numbers.parameters.count: 3 -> 4"]

    def test_a_script_that_builds_is_planned_too(self, project: Project) -> None:
        edit(project, "train.py", "run = pipeline.run()", "pipeline.build()")

        assert project.zenml("plan", "train.py").returncode == 0

    def test_a_script_with_a_guard_is_planned_too(self, project: Project) -> None:
        edit(project, "train.py", "run = pipeline", "if __name__ == '__main__':\n  run = pipeline")
        edit(project, "train.py", 'print("total', '  print("total')

        assert project.zenml("plan", "train.py").returncode == 0

    def test_a_script_in_a_subfolder_is_planned_from_the_repository(self, project: Project) -> None:
        for name in ("train.py", "helper_of_mine.py", "backends_of_mine.py"):
            (project.folder / "sub").mkdir(exist_ok=True)
            (project.folder / name).rename(project.folder / "sub" / name)
        assert project.run("sub/train.py").returncode == 0

        assert "2 cached" in project.zenml("plan", "sub/train.py").stdout

    def test_a_source_that_cannot_be_looked_at_is_a_row(self, project: Project) -> None:
        (project.folder / "rows.py").write_text(
            "from backends_of_mine import MINE\n"
            "from zenml.pipelines import Datasource, Pipeline\n"
            "class Rows(Datasource):\n"
            "    def fingerprint(self): return open('nothing.csv').read()\n"
            "    def run(self): return []\n"
            "Pipeline('p', backends=MINE, datasource=Rows(name='rows')).run()\n"
        )

        answer = project.zenml("plan", "rows.py")

        assert answer.returncode == 0
        assert "cannot be looked up: FileNotFoundError" in answer.stdout


class TestRunOfAScript:
    def test_it_does_what_python_would(self, project: Project) -> None:
        answer = project.zenml("run", "train.py", "5")

        assert answer.returncode == 0
        assert answer.stdout.splitlines() == ["the script says something", "total: 10"]

    def test_options_that_are_not_ours_are_the_scripts(self, project: Project) -> None:
        (project.folder / "args.py").write_text("import sys\nprint(sys.argv)\n")

        answer = project.zenml("run", "args.py", "--epochs", "3", "-v", "x")

        assert answer.stdout == "['args.py', '--epochs', '3', '-v', 'x']\n"

    def test_its_exit_code_is_the_scripts(self, project: Project) -> None:
        (project.folder / "end.py").write_text("raise SystemExit(7)\n")

        assert project.zenml("run", "end.py").returncode == 7

    def test_a_store_that_the_script_would_not_use_is_refused(self, project: Project) -> None:
        answer = project.zenml("run", "train.py", "--store", "elsewhere")

        assert answer.returncode == 2
        assert "pipeline.run(artifact_store=…)" in answer.stderr
        assert not (project.folder / "elsewhere").exists()


class TestPlansInFiles:
    @pytest.fixture
    def plan(self, project: Project) -> Path:
        path = project.folder / "plan.yaml"
        path.write_text(project.zenml("plan", "train.py", "4", "--yaml").stdout)
        return path

    def test_it_runs_as_it_was_planned(self, project: Project, plan: Path) -> None:
        answer = project.zenml("run", "plan.yaml")

        assert answer.returncode == 0, answer.stderr
        assert "succeeded: 2 succeeded" in answer.stdout
        assert "parameter count: 4 -> 3" in project.zenml("plan", "train.py").stdout

    def test_it_runs_from_the_cache_of_the_script(self, project: Project, plan: Path) -> None:
        project.run("train.py", "4")

        assert "2 cached" in project.zenml("run", "plan.yaml").stdout

    def test_changed_code_is_refused_and_left_as_it_is(self, project: Project, plan: Path) -> None:
        # Regression: source pins were ignored on load.
        edit(project, "helper_of_mine.py", "factor\n", "factor + 1\n")
        before, text = files_of(project), (project.folder / "helper_of_mine.py").read_text()

        answer = project.zenml("run", "plan.yaml")

        assert answer.returncode == 1
        assert "helper_of_mine changed" in answer.stderr
        assert "build the plan again" in answer.stderr
        assert files_of(project) == before
        assert (project.folder / "helper_of_mine.py").read_text() == text

    @pytest.mark.parametrize("command", ["run", "plan"])
    def test_everything_that_is_wrong_is_found_before_anything_runs(
        self, project: Project, plan: Path, command: str
    ) -> None:
        text = plan.read_text()
        text = text.replace("region: there", "regoin: there").replace("count: 4", "count: four")
        plan.write_text(text.replace("values: numbers.output", "value: numbers.output"))
        before = files_of(project)

        answer = project.zenml(command, "plan.yaml")

        assert answer.returncode == 1
        assert "steps.total.backend.regoin: no such parameter (did you mean 'region'?)" in (
            answer.stderr
        )
        assert "steps.numbers.parameters.count: expected int, got str" in answer.stderr
        assert "steps.total.inputs.value: no such input (did you mean 'values'?)" in answer.stderr
        assert "steps.total.inputs.values: is required" in answer.stderr
        assert files_of(project) == before

    def test_a_plan_takes_no_arguments(self, project: Project, plan: Path) -> None:
        answer = project.zenml("run", "plan.yaml", "--stroe", "x")

        assert answer.returncode == 2
        assert "a plan takes no arguments: --stroe x" in answer.stderr


def test_runs_and_commands_use_the_artifact_store_of_the_repository(project: Project) -> None:
    assert project.zenml("init", "--artifact-store", "elsewhere").returncode == 0

    assert "total: 3" in project.run("train.py").stdout

    assert (project.folder / "elsewhere" / "runs").is_dir()
    assert not (project.folder / ".zenml" / "store").exists()
    listed = json.loads(project.zenml("run", "list", "--json").stdout)
    assert [row["status"] for row in listed] == ["succeeded"]
    assert "2 cached" in project.zenml("plan", "train.py").stdout
    shown = json.loads(project.zenml("run", "show", "last", "--json").stdout)
    assert shown["status"] == "succeeded"
