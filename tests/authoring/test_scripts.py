"""Steps that scripts define: run directly, from anywhere, in threads and in worker processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from zenml.core.testing import Project

#: Its steps and units are defined in the script itself, which has no guard.
SCRIPT = """
import os
from zenml.core import StepContext
from zenml.local import ProcessingLocalBackend
from zenml.pipelines import Pipeline, step
{imports}

def square(payload, files):
    return {{"value": {value}, "pid": os.getpid()}}

@step(outputs=["squares", "pids"])
def squared(values: list, context: StepContext):
    found = context.map(square, values)
    return [one["value"] for one in found], sorted({{one["pid"] for one in found}})

@step
def total(squares: list):
    return sum(squares)

pipeline = Pipeline("squares", backends=[ProcessingLocalBackend(mode="{mode}", workers=2)])
pipeline.add_step(squared(values=[1, 2, 3, 4]))
pipeline.add_step(total())
{guard}run = pipeline.run()
{guard}print(run.load("total"), run.steps["total"].status, os.getpid() in run.load("squared.pids"))
"""

GUARD = "if __name__ == '__main__': "
RUN = "30 succeeded {here}\n"


def script(
    mode: str = "processes", *, guard: str = "", imports: str = "", value: str = "payload ** 2"
) -> str:
    return SCRIPT.format(mode=mode, guard=guard, imports=imports, value=value)


def check(answer: subprocess.CompletedProcess[str], *, here: bool = False) -> None:
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == RUN.format(here=here)


@pytest.mark.parametrize("guard", ["", GUARD], ids=["unguarded", "guarded"])
@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_a_script_defines_its_steps(tmp_path: Path, mode: str, guard: str) -> None:
    project = Project(tmp_path, {"train.py": script(mode, guard=guard)})

    check(project.run("train.py"), here=mode == "threads")


def test_what_threads_did_is_a_cache_hit_for_processes(tmp_path: Path) -> None:
    project = Project(tmp_path, {"train.py": script("threads")})
    project.run("train.py")
    (tmp_path / "train.py").write_text(script("processes"))

    assert project.run("train.py").stdout.startswith("30 cached")


@pytest.mark.parametrize("name", ["my-train.py", "übung.py", "train model.py", "1st.py", "if.py"])
def test_a_script_may_have_a_name_that_import_could_not_spell(tmp_path: Path, name: str) -> None:
    check(Project(tmp_path, {name: script()}).run(name))


def test_a_script_whose_name_has_a_dot_is_told_to_be_renamed(tmp_path: Path) -> None:
    answer = Project(tmp_path, {"train.v2.py": script()}).run("train.v2.py")

    assert answer.returncode == 1
    assert "rename the script" in answer.stderr
    assert len(answer.stderr.splitlines()) <= 24


@pytest.mark.parametrize(
    "folder", ["with a space", "with,comma", "with:colon", "ünïcødé", "a'b\"c"]
)
def test_a_repository_may_be_in_any_folder(tmp_path: Path, folder: str) -> None:
    files = {"train.py": script(imports="import helper", value="helper.f(payload)"),
             "helper.py": "def f(x): return x ** 2\n"}  # fmt: skip

    check(Project(tmp_path / folder, files).run("train.py"))


def test_a_repository_behind_a_link_is_the_same_repository(tmp_path: Path) -> None:
    project = Project(tmp_path / "real", {"train.py": script()})
    (tmp_path / "link").symlink_to(tmp_path / "real")

    check(project.run("train.py"))
    assert Project(tmp_path / "link").run("train.py").stdout.startswith("30 cached")
    assert project.run(str(tmp_path / "link" / "train.py")).stdout.startswith("30 cached")


def test_a_script_in_a_subfolder_uses_the_helper_beside_it(tmp_path: Path) -> None:
    # The worker's own present folder has a module of the same name, which is not the one meant.
    files = {
        "sub/train.py": script(imports="import helper", value="helper.f(payload)"),
        "sub/helper.py": "def f(x): return x ** 2\n",
        "helper.py": "def f(x): return 1000\n",
    }

    check(Project(tmp_path, files).run("sub/train.py"))


def test_two_scripts_may_have_helpers_of_one_name(tmp_path: Path) -> None:
    text = script(imports="import helper", value="helper.f(payload)")
    files = {
        "a/train.py": text,
        "a/helper.py": "def f(x): return x ** 2\n",
        "b/train.py": text,
        "b/helper.py": "def f(x): return x\n",
    }
    project = Project(tmp_path, files)

    check(project.run("a/train.py"))
    assert project.run("b/train.py").stdout == "10 succeeded False\n"
    assert project.run("a/train.py").stdout.startswith("30 cached")


def test_a_script_in_a_package_can_be_run_as_a_module(tmp_path: Path) -> None:
    files = {
        "package/__init__.py": "",
        "package/train.py": script(imports="from . import helper", value="helper.f(payload)"),
        "package/helper.py": "def f(x): return x ** 2\n",
    }

    check(Project(tmp_path, files).run("-m", "package.train"))


def test_a_script_in_a_package_can_be_run_directly(tmp_path: Path) -> None:
    files = {
        "package/__init__.py": "",
        "package/train.py": script(imports="import helper", value="helper.f(payload)"),
        "package/helper.py": "def f(x): return x ** 2\n",
    }

    check(Project(tmp_path, files).run("package/train.py"))


def test_a_script_in_a_namespace_package_can_be_run_as_a_module(tmp_path: Path) -> None:
    files = {
        "space/train.py": script(imports="from space import helper", value="helper.f(payload)"),
        "space/helper.py": "def f(x): return x ** 2\n",
    }

    check(Project(tmp_path, files).run("-m", "space.train"))


def test_a_package_can_be_run_by_its_name(tmp_path: Path) -> None:
    files = {"package/__init__.py": "", "package/__main__.py": script()}

    check(Project(tmp_path, files).run("-m", "package"))


def test_a_folder_that_is_run_is_told_what_to_do(tmp_path: Path) -> None:
    answer = Project(tmp_path, {"folder/__main__.py": script()}).run("folder")

    assert answer.returncode == 1
    assert "rename the script" in answer.stderr


def test_steps_of_modules_work_too(tmp_path: Path) -> None:
    head, _, tail = script().partition("pipeline = ")
    files = {
        "lib/__init__.py": "",
        "lib/steps.py": head,
        "train.py": f"import os\nfrom lib.steps import *\npipeline = {tail}",
    }

    check(Project(tmp_path, files).run("train.py"))


def test_a_script_sees_its_arguments_in_the_workers_too(tmp_path: Path) -> None:
    text = script(imports="import sys\nPOWER = int(sys.argv[1])", value="payload ** POWER")

    check(Project(tmp_path, {"train.py": text}).run("train.py", "2"))


def test_an_edited_unit_function_runs_again(tmp_path: Path) -> None:
    project = Project(tmp_path, {"train.py": script()})
    project.run("train.py")
    (tmp_path / "train.py").write_text(script(value="payload ** 3"))

    assert project.run("train.py").stdout == "100 succeeded False\n"


def test_an_edited_pipeline_does_not(tmp_path: Path) -> None:
    project = Project(tmp_path, {"train.py": script()})
    project.run("train.py")
    text = (
        script().replace('Pipeline("squares"', 'Pipeline("other"').replace("workers=2", "workers=1")
    )
    (tmp_path / "train.py").write_text(text + "# the end\n")

    assert project.run("train.py").stdout.startswith("30 cached")


def test_a_unit_that_stands_below_the_run_is_told_what_to_do(tmp_path: Path) -> None:
    head, unit, rest = script().partition("def square(payload, files):")
    body, _, tail = rest.partition("@step(")
    moved = f"{head}@step({tail}\n{unit}{body}"

    answer = Project(tmp_path, {"train.py": moved}).run("train.py")

    assert answer.returncode == 1
    assert "square" in answer.stderr


def test_nothing_of_the_script_runs_twice(tmp_path: Path) -> None:
    text = script().replace("run = pipeline.run()", "run = pipeline.run()\nprint('after')")
    project = Project(tmp_path, {"train.py": text})

    assert project.run("train.py").stdout.splitlines()[0] == "after"
    assert len(list((tmp_path / ".zenml" / "store" / "runs").iterdir())) == 1


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_zenml_run_does_what_python_does(tmp_path: Path, mode: str) -> None:
    project = Project(tmp_path, {"train.py": script(mode)})

    answer = project.zenml("run", "train.py")

    assert answer.stdout == RUN.format(here=mode == "threads")


def test_a_plan_of_a_script_runs_in_worker_processes(tmp_path: Path) -> None:
    files = {
        "sub/train.py": script(imports="import helper", value="helper.f(payload)"),
        "sub/helper.py": "def f(x): return x ** 2\n",
    }
    project = Project(tmp_path, files)
    (tmp_path / "plan.yaml").write_text(project.zenml("plan", "sub/train.py", "--yaml").stdout)

    answer = project.zenml("run", "plan.yaml")

    assert answer.returncode == 0, answer.stderr
    assert "succeeded: 2 succeeded" in answer.stdout
    assert project.run("sub/train.py").stdout.startswith("30 cached")
