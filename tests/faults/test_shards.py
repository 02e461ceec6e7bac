"""kill -9 when 97 of 100 shards are done: the next run does those that are left, and no other."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core import open_store
from zenml.core.testing import Project, processes_of_group, wait_until

#: Step, how many of its units come back before the kill, of how many, and who does them. The
#: preprocesser looks at every shard twice: first it learns, then it transforms.
DEATHS = [
    ("data", 97, 100, "threads"),
    ("statistics", 97, 100, "threads"),
    ("statistics", 97, 100, "processes"),
    ("preprocess", 97, 200, "threads"),
    ("preprocess", 197, 200, "threads"),
    ("preprocess", 197, 200, "processes"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """One for all, because units name the folder of the rows."""
    made = Project(tmp_path_factory.mktemp("shards") / "project")
    shutil.copy(Path(__file__).parent / "project" / "shards.py", made.folder)
    yield made
    made.end_processes()


@pytest.fixture(scope="module")
def undisturbed(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What an undisturbed run gives, and its maps."""
    status, said, maps = run(project, tmp_path_factory.mktemp("undisturbed") / "store")
    assert status == 0, said
    return json.loads(said), maps


def run(project: Project, store: Path, **how: Any) -> tuple[int, str, list[dict[str, Any]]]:
    """The exit status, what was printed, and the maps that were noted."""
    with project.start("shards.py", json.dumps({"store": str(store), **how})) as process:
        out, err = process.communicate(timeout=300)
    # Workers see their client's end, and finish what they are at.
    wait_until(lambda: not processes_of_group(process.pid), what="the end of every worker")
    journal = project.folder / "journal.jsonl"
    maps = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    journal.unlink()
    return process.returncode, out if process.returncode == 0 else err, maps


def finished(store: Path) -> set[str]:
    """Digests of the units that are remembered."""
    return {Path(item.key).stem for item in open_store(str(store)).list("units/")}


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: "-".join(map(str, death)))
def test_only_the_shards_that_are_left_are_done_again(
    death: tuple[str, int, int, str],
    project: Project,
    undisturbed: tuple[dict[str, Any], list[dict[str, Any]]],
    tmp_path: Path,
    checks: Any,
) -> None:
    step, after, all_units, mode = death
    expected, maps = undisturbed
    given = [unit for found in maps if found["step"] == step for unit in found["units"]]
    assert len(set(given)) == len(given) == all_units

    status, said, _ = run(project, tmp_path / "store", mode=mode, step=step, after=after)
    assert status == -signal.SIGKILL, said
    store = checks.store_at(tmp_path / "store")
    assert step not in checks.committed(store)
    known = finished(tmp_path / "store") & set(given)
    # What came back is remembered, and what workers had finished meanwhile: one more each, or
    # several where the client was slow to be killed.
    assert after <= len(known)

    status, said, maps = run(project, tmp_path / "store", mode=mode)
    assert status == 0, said
    again = Counter(unit for found in maps if found["step"] == step for unit in found["units"])
    assert again == Counter(set(given) - known)
    found = json.loads(said)
    assert {name: outputs for name, (_, outputs) in found.items()} == {
        name: outputs for name, (_, outputs) in expected.items()
    }
    # What had been committed is not begun again.
    assert found[step][0] == "succeeded"
    assert step == "data" or {found["data"][0], found["split"][0]} == {"cached"}
