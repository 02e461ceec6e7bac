"""On this machine a pipeline comes to the same artifacts however its work is spread."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Run
from zenml.core.testing import Project, importing_from
from zenml.local import OrchestratorLocalBackend, ProcessingLocalBackend
from zenml.pipelines import Pipeline

SPREAD = """
    import hashlib
    import math
    import random

    from zenml.core import Artifact, Blob
    from zenml.pipelines import StepContext, step


    def summarise(payload, files):
        numbers = random.Random(payload["shard"])
        values = [numbers.gauss(0, 1e8) for _ in range(200)]
        path = files.scratch / "values.txt"
        path.write_text("\\n".join(map(repr, values)))
        blob = files.put(path)
        return {
            "digest": blob.digest,
            "size": blob.size,
            "sum": math.fsum(values),
            "names": {str(n): n / 3 for n in (3, 1, 2)},
            "pair": (1, 2.0),
        }


    @step
    def numbers(shards: int) -> list[int]:
        return list(range(shards))


    @step(outputs=["values", "statistics"])
    def sample(context: StepContext, numbers: list[int]):
        parts = context.map(summarise, [{"shard": n, "tuple": (n, n)} for n in numbers])
        files = {f"part-{n:05}": Blob(p["digest"], p["size"]) for n, p in enumerate(parts)}
        artifact = Artifact(format="folder/1", value={"single": False}, files=files)
        total = 0.0
        for part in parts:  # in shard order: floating-point sums depend on it
            total += part["sum"]
        return artifact, {"sum": total, "parts": parts}


    @step
    def branch(statistics: dict, number: int) -> dict:
        return {"number": number, "scaled": statistics["sum"] / (number + 1)}


    @step
    def join(branches: list, values) -> str:
        text = repr(branches) + "".join(f.read_text() for f in sorted(values.iterdir()))
        return hashlib.sha256(text.encode()).hexdigest()
"""


@pytest.fixture
def spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    project = Project(tmp_path / "project", {"spread.py": textwrap.dedent(SPREAD)})
    monkeypatch.chdir(project.folder)
    with importing_from(project.folder):
        import spread  # type: ignore[import-not-found]

        yield spread


def run(spread: Any, store: Path, mode: Any, workers: int, steps: int) -> Run:
    pipeline = Pipeline(
        "spread",
        backends=[
            OrchestratorLocalBackend(max_parallel_steps=steps),
            ProcessingLocalBackend(mode=mode, workers=workers),
        ],
    )
    pipeline.add_step(spread.numbers(shards=12))
    pipeline.add_step(spread.sample(), inputs={"numbers": "numbers"})
    branches = [pipeline.add_step(spread.branch(number=number)) for number in range(6)]
    pipeline.add_step(spread.join(), inputs={"branches": branches})
    return pipeline.run(artifact_store=store)


def digests(done: Run) -> dict[str, tuple[str, dict[str, str]]]:
    return {
        name: (record.key, record.outputs)
        for name, record in sorted(done.steps.items())
        if record.status == "succeeded"
    }


@pytest.mark.parametrize(
    ("mode", "workers", "steps"),
    [("threads", 8, 8), ("processes", 1, 1), ("processes", 8, 8), ("threads", 2, 1)],
)
def test_threads_processes_and_their_number_change_no_digest(
    spread: Any, tmp_path: Path, mode: str, workers: int, steps: int
) -> None:
    reference = digests(run(spread, tmp_path / "reference", "threads", 1, 1))

    found = digests(run(spread, tmp_path / "other", mode, workers, steps))

    assert len(reference) == 9
    assert found == reference


def test_what_one_way_made_is_found_by_every_other(spread: Any, tmp_path: Path) -> None:
    made = run(spread, tmp_path / "store", "processes", 2, 2)

    for mode, workers in (("threads", 1), ("threads", 8), ("processes", 1)):
        found = run(spread, tmp_path / "store", mode, workers, workers)
        assert {record.status for record in found.steps.values()} == {"cached"}
        assert {n: r.outputs for n, r in found.steps.items()} == {
            n: r.outputs for n, r in made.steps.items()
        }


def test_the_hash_seed_and_the_present_folder_change_no_digest(spread: Any, tmp_path: Path) -> None:
    project = Project(
        tmp_path / "elsewhere",
        {
            "spread.py": Path(spread.__file__).read_text(),
            "main.py": (
                "import sys\n"
                "from spread import join, branch, numbers, sample\n"
                "from zenml.pipelines import Pipeline\n\n"
                "made = Pipeline('spread')\n"
                "made.add_step(numbers(shards=12))\n"
                "made.add_step(sample(), inputs={'numbers': 'numbers'})\n"
                "names = [made.add_step(branch(number=number)) for number in range(6)]\n"
                "made.add_step(join(), inputs={'branches': names})\n"
                "run = made.run()\n"
                "for name, record in sorted(run.steps.items()):\n"
                "    print(name, *record.outputs.values())\n"
            ),
        },
    )
    reference = digests(run(spread, tmp_path / "reference", "threads", 1, 1))
    wanted = [" ".join([name, *outputs.values()]) for name, (_, outputs) in reference.items()]

    for seed in ("0", str(random.randrange(1, 2**32))):  # noqa: S311
        done = project.run("main.py", variables={"PYTHONHASHSEED": seed, "LC_ALL": "C"})
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == wanted, f"hash seed {seed}"
