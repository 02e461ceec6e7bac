"""Steps that a notebook or an interactive session defines: no other process could find them."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenml.core.testing import Project

CELL = """
from zenml.pipelines import Pipeline, step
@step
def work():
    return 1

pipeline = Pipeline("p")
_ = pipeline.add_step(work())
pipeline.run()
"""

#: How sessions execute what is typed into them.
NOTEBOOK = f"""
import sys, types
sys.modules["__main__"] = module = types.ModuleType("__main__")
module.__dict__["__builtins__"] = __builtins__
exec(compile({CELL!r}, "<ipython-input-1-abc>", "exec"), module.__dict__)
"""
CONSOLE = f"""
import code, sys
console = code.InteractiveConsole()
for line in {CELL!r}.splitlines():
    console.push(line)
"""


def _start(tmp_path: Path, way: str) -> tuple[int, str]:
    project = Project(tmp_path, {"cell.txt": CELL, "notebook.py": NOTEBOOK, "console.py": CONSOLE})
    if way == "-c":
        answer = project.run("-c", CELL)
    elif way == "-":
        with (tmp_path / "cell.txt").open() as text:
            process = project.start("-", stdin=text)
        out, err = process.communicate(timeout=60)
        return process.returncode, out + err
    elif way == "-i":
        with (tmp_path / "cell.txt").open() as text:
            process = project.start("-i", "-q", stdin=text)
        out, err = process.communicate(timeout=60)
        return 1, out + err  # an interactive session ends well whatever was typed
    else:
        answer = project.run(way)
        if way == "console.py":
            return 1, answer.stdout + answer.stderr
    return answer.returncode, answer.stdout + answer.stderr


@pytest.mark.parametrize("way", ["-c", "-", "-i", "notebook.py", "console.py"])
def test_the_error_says_what_to_do(tmp_path: Path, way: str) -> None:
    code, said = _start(tmp_path, way)

    assert code == 1
    assert "steps.work.source: work is defined in a notebook or an interactive session" in said
    assert "save it in a file, say steps.py, and write: from steps import work" in said
    assert len(said.splitlines()) <= 24
    assert list((tmp_path / ".zenml").iterdir()) == []


def test_steps_from_a_file_work_there(tmp_path: Path) -> None:
    project = Project(tmp_path, {"steps.py": CELL.partition("pipeline =")[0]})
    rest = "pipeline =" + CELL.partition("pipeline =")[2].replace(
        "pipeline.run()", "run = pipeline.run()"
    )

    answer = project.run("-c", f"from steps import *\n{rest}\nprint(run.load('work'))")

    assert (answer.returncode, answer.stdout) == (0, "1\n"), answer.stderr


def test_steps_from_a_file_work_there_in_worker_processes(tmp_path: Path) -> None:
    steps = (
        "from zenml.core import StepContext, step\n"
        "def double(payload, files): return 2 * payload\n"
        "@step\ndef work(context: StepContext): return context.map(double, [1, 2])\n"
    )
    typed = (
        "from steps import work\nfrom zenml.local import ProcessingLocalBackend\n"
        "from zenml.pipelines import Pipeline\n"
        "p = Pipeline('p', backends=[ProcessingLocalBackend(mode='processes')])\n"
        "p.add_step(work())\nprint(p.run().load('work'))\n"
    )

    answer = Project(tmp_path, {"steps.py": steps}).run("-c", typed)

    assert (answer.returncode, answer.stdout) == (0, "[2, 4]\n"), answer.stderr
