"""Every bad input, as a user meets it: ``python train.py`` ends with one screen that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenml.core.testing import Project

HEAD = """\
from zenml.core import StepContext
from zenml.local import OrchestratorLocalBackend, ProcessingLocalBackend, TrainingLocalBackend
from zenml.pipelines import Datasource, Pipeline, Step, TrainingPipeline, step

@step
def numbers(count: int = 3):
    return list(range(count))

@step
def total(values):
    return sum(values)

@step
def fails():
    return {}["nothing"]

def bad_unit(payload, files):
    return {}["nothing"]

@step
def maps(context: StepContext):
    return context.map(bad_unit, [1, 2])

@step
def unstorable():
    return object()

class Clip(Step):
    limit: float = 1.0

    def run(self, values):
        return values

class Rows(Datasource):
    def run(self):
        return open("nothing.csv").read()

p = Pipeline("p")
"""

#: What is done wrong (after HEAD), what the error must say, and whether a run is recorded.
BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown parameter of a step": (
        "Clip(limt=1)",
        ("limt: no such parameter (did you mean 'limit'?)",),
    ),
    "mistyped parameter of a step": (
        "Clip(limit='1')",
        ("limit: expected float, got str: '1'",),
    ),
    "unknown parameter of a function": (
        "numbers(cuont=1)",
        ("cuont: no such parameter (did you mean 'count'?)",),
    ),
    "unknown parameter of a backend": (
        "ProcessingLocalBackend(worker=1)",
        ("worker: no such parameter (did you mean 'workers'?)",),
    ),
    "a processing backend as orchestrator": (
        "p.add_step(numbers())\np.run(backend=ProcessingLocalBackend())",
        ("backend: expected orchestrator, found ProcessingLocalBackend", "with_backend()"),
    ),
    "an orchestrator for a step": (
        "numbers().with_backend(OrchestratorLocalBackend())",
        ("expected a processing backend, found OrchestratorLocalBackend", "pipeline.run(backend="),
    ),
    "a training backend for a processing step": (
        "numbers().with_backend(TrainingLocalBackend())",
        ("expected a processing backend, found TrainingLocalBackend",),
    ),
    "a backend that is not installed": (
        "p.add_step(numbers().with_backend('nowhere'))\np.run()",
        ("steps.numbers.backend: ", "nowhere"),
    ),
    "a backend whose name is misspelt": (
        "p.add_step(numbers().with_backend('locla'))\np.run()",
        ("steps.numbers.backend: ", "local"),
    ),
    "a step that is not called": (
        "p.add_step(numbers)",
        ("call it first: numbers(…)",),
    ),
    "an input that nothing gives": (
        "p.add_step(numbers())\np.add_step(total())\np.run()",
        ("steps.total.inputs.values: no earlier step has an output of that name",),
    ),
    "an input of a step that is not there": (
        "p.add_step(numbers())\np.add_step(total(), inputs={'values': 'numbres.output'})\np.run()",
        ("steps.total.inputs.values: there is no step 'numbres' (did you mean 'numbers'?)",),
    ),
    "a cyclic graph": (
        "for a, b in ('ab', 'ba'): p.add_step(total(), a, {'values': b})\np.run()",
        ("steps: they wait for each other: a -> b -> a",),
    ),
    "fifty problems at once": (
        "for _ in range(50): p.add_step(total())\np.run()",
        ("50 problems", "… and 36 more"),
    ),
    "a training pipeline without slots": (
        "TrainingPipeline('t').run()",
        ("steps.split: is missing (call add_split(…))", "steps.trainer: is missing"),
    ),
    "a lambda": (
        "p.add_step(step(lambda: 1)(), 'one')\np.run()",
        ("inside a function", "move it to the top level of a module"),
    ),
    "a parameter that is not plain": (
        "import math\np.add_step(Clip(limit=math.nan), inputs={'values': 'x'})\np.run()",
        ("steps.Clip.parameters: limit is nan",),
    ),
    "a change after a run": (
        "p.add_step(numbers())\np.run()\np.add_step(numbers())",
        ("has run and cannot be changed any more", "pipeline.copy('new name')"),
    ),
    "a step that fails": (
        "p.add_step(fails())\np.run()",
        ("train.py", 'return {}["nothing"]', "step 'fails' failed: KeyError: 'nothing'"),
    ),
    "a step that fails beside others": (
        "p.add_step(numbers())\np.add_step(fails())\np.run()",
        ('return {}["nothing"]', "step 'fails' failed: KeyError: 'nothing'"),
    ),
    "a unit that fails in a thread": (
        "p.add_step(maps().with_backend(ProcessingLocalBackend(workers=2)))\np.run()",
        ("step 'maps' failed: KeyError: 'nothing'",),
    ),
    "a unit that fails in a process": (
        "p.add_step(maps().with_backend(ProcessingLocalBackend(mode='processes')))\np.run()",
        ("step 'maps' failed: ", "KeyError: 'nothing'", "in bad_unit"),
    ),
    "a result that cannot be stored": (
        "p.add_step(unstorable())\np.run()",
        ("step 'unstorable' failed: ", "it cannot be stored", "zenml-steps"),
    ),
    "a source that is not there": (
        "p.add_datasource(Rows(name='rows'))\np.run()",
        ("step 'data' failed: FileNotFoundError", "nothing.csv"),
    ),
    "a commit that is not there": (
        "p.add_datasource(Rows(name='rows'), '1234')\np.add_step(total())\np.run()",
        ("there is no such commit: '1234'", "datasource 'rows'"),
    ),
    "a store of an unknown kind": (
        "p.add_step(numbers())\np.run(artifact_store='s4://bucket')",
        ("s4",),
    ),
    "a store in a place that is a file": (
        "p.add_step(numbers())\np.run(artifact_store='train.py')",
        ("train.py",),
    ),
}

#: Those that are found only when something runs leave a record of a failed run.
RUNS = ("fails", "stored", "source that", "after a run", "place that is a file", "unknown kind")


@pytest.mark.parametrize("case", BAD)
def test_it_gives_one_screen_that_says_where_and_what(tmp_path: Path, case: str) -> None:
    wrong, said = BAD[case]
    project = Project(tmp_path, {"train.py": f"{HEAD}{wrong}\n"})

    answer = project.run("train.py")

    assert answer.returncode == 1
    for text in said:
        assert text in answer.stderr
    assert len(answer.stderr.splitlines()) <= 24, answer.stderr
    assert answer.stdout == ""
    if not any(word in case for word in RUNS):
        assert list((tmp_path / ".zenml").iterdir()) == []


#: One of each way in which an error reaches the command.
WAYS = (
    "unknown parameter of a step",
    "a backend that is not installed",
    "fifty problems at once",
    "a step that fails",
    "a unit that fails in a process",
    "a commit that is not there",
)


@pytest.mark.parametrize("case", WAYS)
def test_zenml_run_says_the_same_with_less_around_it(tmp_path: Path, case: str) -> None:
    wrong, said = BAD[case]
    project = Project(tmp_path, {"train.py": f"{HEAD}{wrong}\n"})

    answer = project.zenml("run", "train.py")

    assert answer.returncode == 1
    for text in said:
        assert text in answer.stderr
    assert len(answer.stderr.splitlines()) <= 24, answer.stderr
    assert "_zenml_main" not in answer.stderr
