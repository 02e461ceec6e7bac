"""A small real workbench: bytes in a folder, units executed one after another as plain data."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Artifact, Blob

# The program of `test_determinism` loads this file for the workbench, and has no use for the rest.
with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # `pytest --hypothesis-profile night` tries other examples each time, and many.
    settings.register_profile(
        "always", derandomize=True, max_examples=40, deadline=None, database=None
    )
    settings.register_profile(
        "night",
        max_examples=2_000,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("always")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-size",
        action="store_true",
        help="test the largest data in its full size: ten million categories, 5,000 columns",
    )


class FolderFiles:
    """``Files`` over a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = root / "scratch"
        self.scratch.mkdir(parents=True)
        self._count = itertools.count()

    def put(self, path: Path) -> Blob:
        data = path.read_bytes()
        path.unlink()
        return self.put_bytes(data)

    def put_bytes(self, data: bytes) -> Blob:
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        draft = self.root / f"draft-{next(self._count)}"
        draft.write_bytes(data)
        os.replace(draft, self.root / blob.digest)
        return blob

    def fetch(self, blob: Blob) -> Path:
        return self.root / blob.digest


class Workbench:
    """``StepContext``: executes units in reverse order, and only with what JSON gives back."""

    step = "step"
    run_id = "run"
    log = logging.getLogger("tests")

    def __init__(self, folder: Path) -> None:
        self.files = FolderFiles(folder)
        self.units = 0
        self.imports: set[str] = set()
        self.checkpoints: list[str] = []

    def map(
        self, function: Callable[..., Any], payloads: Iterable[Any], *, imports: Iterable[str] = ()
    ) -> list[Any]:
        self.imports |= {*imports}
        sent = [json.dumps(payload, allow_nan=False) for payload in payloads]
        self.units += len(sent)
        results = {
            place: json.dumps(function(json.loads(sent[place]), self.files), allow_nan=False)
            for place in reversed(range(len(sent)))
        }
        return [json.loads(results[place]) for place in range(len(sent))]

    def save_checkpoint(self, value: Any) -> None:
        self.checkpoints.append(json.dumps(value, allow_nan=False))

    def last_checkpoint(self) -> Any:
        return json.loads(self.checkpoints[-1]) if self.checkpoints else None

    def cancelled(self) -> bool:
        return False

    def run(self, step: Any, **inputs: Any) -> Any:
        """Run a step; a step with one output gives that output."""
        outputs = step.call(inputs, self)
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    def store(self, value: Any, store_format: Any) -> Artifact:
        """Save a value, read it back once, and give the artifact."""
        artifact: Artifact = store_format.save(value, self.files)
        return Artifact.decode(artifact.encoded, artifact.digest)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path / "store")


@pytest.fixture
def another_bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path / "another-store")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workbench]:
    """Make a bench: for tests of many examples, each with an empty store."""
    folder = tmp_path_factory.mktemp("benches")
    return lambda: Workbench(Path(tempfile.mkdtemp(dir=folder)) / "store")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """Write a file and return its path."""

    def write_file(name: str, content: str | bytes) -> str:
        path = tmp_path / "input" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write_file


CARRIERS = ("UA", "AA", "B6", "DL", "EV")

#: A small table with every type and something missing in every column; 1,000 rows.
ROWS: list[dict[str, Any]] = [
    {
        "distance": None if number % 97 == 0 else (number * 7919) % 1000,
        "delay": None if number % 89 == 0 else ((number * 104729) % 2000) / 16 - 20,
        "carrier": None if number % 83 == 0 else CARRIERS[number * 7919 % 11 % 5],
        "weekend": None if number % 79 == 0 else number % 7 < 2,
        "late": (number * 7919) % 1000 + (number % 13) * 20 > 600,
    }
    for number in range(1_000)
]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return [dict(row) for row in ROWS]


@pytest.fixture
def table(write: Callable[[str, str | bytes], str]) -> str:
    """The rows as a CSV file; its path."""

    def text(value: Any) -> str:
        if value is None:
            return "NA"
        return str(value).lower() if isinstance(value, bool) else str(value)

    lines = [",".join(ROWS[0])] + [",".join(map(text, row.values())) for row in ROWS]
    return write("table.csv", "\n".join(lines) + "\n")


@pytest.fixture
def examples_of() -> Callable[..., Any]:
    """Take a snapshot of a path on a bench."""

    def take(bench: Workbench, path: str, rows_per_shard: int = 300) -> Any:
        from zenml.datasources import CSVDatasource

        source = CSVDatasource(name="table", path=path, rows_per_shard=rows_per_shard)
        return bench.run(source)["examples"]

    return take


@pytest.fixture
def examples(bench: Workbench, table: str, examples_of: Callable[..., Any]) -> Any:
    """The table as a dataset of four shards."""
    return examples_of(bench, table)


@pytest.fixture
def split_examples(bench: Workbench, examples: Any) -> Any:
    """The table with splits: train, eval and test."""
    from zenml.steps.split import RandomSplit

    split = RandomSplit(split_map={"train": 0.6, "eval": 0.2, "test": 0.2}, seed=1)
    return bench.run(split, examples=examples)
