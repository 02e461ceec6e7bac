"""Whatever is wrong with a file that a command is given: one screen, where, what to do, exit 1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zenml.core.testing import Project

HEAD = "from backends_of_mine import MINE\nfrom zenml.pipelines import Pipeline, Step, step\n"

CYCLE = """
version: 1
pipeline: p
orchestrator: {type: x}
steps:
  a: {source: m:a, code: c, kind: processing, backend: {type: x}, inputs: {x: b.output}}
  b: {source: m:b, code: c, kind: processing, backend: {type: x}, inputs: {x: a.output}}
"""

#: File name to (contents, what the error must say).
BAD: dict[str, tuple[bytes, str]] = {
    "empty.yaml": (b"", "expected a mapping"),
    "binary.yaml": (b"\x80\x81", "is not UTF-8"),
    "syntax.yaml": (b"a: 1\nb: [\n", "line 3"),
    "unknown.yaml": (b"version: 1\npipline: a\nsteps: {}\n", "did you mean 'pipeline'?"),
    "newer.yaml": (b"version: 2\nfuture: 1\n", "pip install --upgrade zenml-core"),
    "cycle.yaml": (
        CYCLE.encode(),
        "they wait for each other: a -> b -> a",
    ),
    "text.txt": (b"", "expected a script (.py) or a plan"),
    "syntax.py": (b"x = 1\ndef (:\n", "line 2"),
    "bytes.py": (b"x = '\xff'\n", "bytes.py"),
    "nothing.py": (b"x = 1\n", "without running or building a pipeline"),
    "ends.py": (b"raise SystemExit\n", "without running or building a pipeline"),
    "raises.py": (b"\n\nundefined_name\n", 'raises.py", line 3'),
    "deep.py": (b"def f(n): return f(n - 1) if n else 1 / 0\nf(50)\n", "ZeroDivisionError"),
    "import.py": (b"import nothing_of_that_name\n", "No module named"),
    "cycle.py": (
        f"{HEAD}@step\ndef f(x): return x\np = Pipeline('p', backends=MINE)\n"
        "p.add_step(f(), 'a', {'x': 'b'})\np.add_step(f(), 'b', {'x': 'a'})\np.run()\n".encode(),
        "they wait for each other: a -> b -> a",
    ),
    "parameter.py": (
        f"{HEAD}class S(Step):\n  limit: int\n  def run(self): ...\nS(limt=1)\n".encode(),
        "limt: no such parameter (did you mean 'limit'?)",
    ),
    "kind.py": (
        f"{HEAD}@step\ndef f(): ...\nf().with_backend(MINE[0])\n".encode(),
        "expected a processing backend, found Here, which is of kind orchestrator",
    ),
    "many.py": (
        f"{HEAD}@step\ndef f(x): ...\np = Pipeline('p', backends=MINE)\n"
        "for _ in range(100): p.add_step(f(), inputs={'y': 'z'})\np.run()\n".encode(),
        "and 186 more",
    ),
    "local.py": (
        f"{HEAD}def make():\n  class S(Step):\n    def run(self): ...\n  return S()\n"
        "p = Pipeline('p', backends=MINE)\np.add_step(make())\np.run()\n".encode(),
        "move it to the top level of a module",
    ),
    "a.dot.py": (
        f"{HEAD}@step\ndef f(): ...\np = Pipeline('p', backends=MINE)\n"
        "p.add_step(f())\np.run()\n".encode(),
        "rename the script",
    ),
    "helper.py": (
        f"{HEAD}import broken_helper\n".encode(),
        "broken_helper.py",
    ),
}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gives_one_screen_and_leaves_nothing(
    project: Project, command: str, name: str
) -> None:
    content, said = BAD[name]
    (project.folder / name).write_bytes(content)
    (project.folder / "broken_helper.py").write_text("def broken(:\n")
    before = {path for path in project.folder.rglob("*") if "__pycache__" not in path.parts}

    answer = project.zenml(command, name)

    if command == "run" and name in ("nothing.py", "ends.py"):
        assert answer.returncode == 0  # what python would do
        return
    assert answer.returncode == 1, answer.stdout
    assert said in answer.stderr
    assert len(answer.stderr.splitlines()) <= 24
    assert answer.stdout == ""
    after = {path for path in project.folder.rglob("*") if "__pycache__" not in path.parts}
    assert after == before


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    "name", ["nothing.yaml", "nothing.py", ".", "train.py/x.yaml", "x" * 300 + ".yaml"]
)
def test_a_file_that_is_not_there_is_said_to_be_so(
    project: Project, command: str, name: str
) -> None:
    answer = project.zenml(command, name)

    assert answer.returncode == 1
    assert "there is no such file" in answer.stderr
    assert len(answer.stderr.splitlines()) <= 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
@pytest.mark.parametrize("name", ["plan.yaml", "script.py"])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_file_that_may_not_be_read_is_named(project: Project, command: str, name: str) -> None:
    path: Path = project.folder / name
    path.write_text("")
    path.chmod(0)

    answer = project.zenml(command, name)

    assert answer.returncode == 1
    assert name in answer.stderr
    assert len(answer.stderr.splitlines()) <= 24


def test_a_configuration_of_another_version_says_what_to_install(project: Project) -> None:
    (project.folder / ".zenml" / "config.yaml").write_text("version: 2\nfuture: {}\n")

    answer = project.zenml("plan", "train.py")

    assert answer.returncode == 1
    assert "pip install --upgrade zenml-core" in answer.stderr


def test_a_configuration_with_an_unknown_key_names_the_nearest(project: Project) -> None:
    (project.folder / ".zenml" / "config.yaml").write_text("artifact_stroe: x\n")

    answer = project.zenml("run", "train.py")

    assert answer.returncode == 1
    assert "did you mean 'artifact_store'?" in answer.stderr
