"""Units of work that fail, die, lie or hang, on threads and in worker processes."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core import MapContext, Unit
from zenml.core.errors import StepFailedError
from zenml.core.testing import Project, importing_from, nothing_left_behind
from zenml.local import ProcessingLocalBackend
from zenml.pipelines import Pipeline

MODES = ["threads", "processes"]
#: What a unit does with the pipes on which its worker is spoken to.
OUTPUTS = ["prints", "reads", "large"]


@pytest.fixture
def journal(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = project.folder / "journal.txt"
    monkeypatch.setenv("JOURNAL", str(path))
    return path


@pytest.fixture
def working(project: Project, journal: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(project.folder)
    with importing_from(project.folder):
        yield importlib.import_module("working")


def run(step: Any, mode: Any, workers: int = 2) -> Any:
    backend = ProcessingLocalBackend(mode=mode, workers=workers)
    pipeline = Pipeline("working", backends=[backend])
    pipeline.add_step(step)
    return pipeline.run()


def worked_on(journal: Path) -> list[int]:
    return [int(line.split()[1]) for line in journal.read_text().splitlines()]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raises", "ValueError: unit 3 raised"),
        ("odd", r"OddError: .*this and that"),
        ("wordless", r"WordlessError: .*cannot be shown: RuntimeError"),
        ("surrogate", r"broken \\udcff name"),
        ("huge", r"ValueError: xxx"),
        ("typed", r"no such column(.|\n)*column 'x'(.|\n)*name another"),
        ("memory", "MemoryError"),
        ("exits politely", "SystemExit: 7"),
    ],
)
def test_what_a_unit_raises_fails_the_step_and_says_what_it_was(
    working: Any, mode: str, how: str, says: str
) -> None:
    with nothing_left_behind(), pytest.raises(StepFailedError, match=says) as failed:
        run(working.work(how=how), mode)

    cause = failed.value.__cause__
    assert cause is not None
    if how not in ("typed", "huge"):  # the user's own line is told, wherever the unit ran
        told = f"{failed.value}{failed.value.traceback_text}"
        assert "in behave" in told
        assert "working.py" in told


@pytest.mark.parametrize("mode", MODES)
def test_units_that_were_finished_before_one_failed_are_not_redone(
    working: Any, journal: Path, mode: str
) -> None:
    with pytest.raises(StepFailedError):
        run(working.work(how="raises", bad=7), mode, workers=1)
    assert worked_on(journal) == list(range(8))
    journal.unlink()

    with pytest.raises(StepFailedError):
        run(working.work(how="raises", bad=7), mode, workers=1)

    assert worked_on(journal) == [7]


@pytest.mark.parametrize("mode", MODES)
def test_a_failure_ends_the_units_beside_it(
    working: Any, journal: Path, tmp_path: Path, mode: str
) -> None:
    flag = tmp_path / "flag"
    if mode == "threads":  # a thread cannot be ended: what it does must come to its end
        threading.Timer(0.3, flag.touch).start()

    with nothing_left_behind(), pytest.raises(StepFailedError, match="unit 0 raised"):
        run(working.work(how="wait for others", bad=0, flag=str(flag)), mode)

    assert len(worked_on(journal)) < 8


class TestDeath:
    """A worker process that is killed, as when the machine has no memory left."""

    def test_its_unit_is_given_to_another(
        self, working: Any, journal: Path, tmp_path: Path
    ) -> None:
        with nothing_left_behind():
            done = run(working.work(how="killed once", flag=str(tmp_path / "flag")), "processes")

        assert done.load("work") == list(range(8))
        assert sorted(worked_on(journal)) == [0, 1, 2, 3, 3, 4, 5, 6, 7]

    @pytest.mark.parametrize(
        ("how", "says"),
        [
            ("killed", r"ended its worker process 2 times \(signal SIGKILL\)(.|\n)*memory"),
            ("exits", r"ended its worker process 2 times \(exit code 7\)(.|\n)*mode='threads'"),
            ("closes", r"ended its worker process 2 times \((exit code 0|signal SIGKILL)\)"),
        ],
    )
    def test_a_unit_that_always_kills_its_worker_fails_the_step(
        self, working: Any, journal: Path, how: str, says: str
    ) -> None:
        with nothing_left_behind(), pytest.raises(StepFailedError, match=says):
            run(working.work(how=how), "processes")

        assert worked_on(journal).count(3) == 2

    def test_the_last_unit_may_be_the_one(self, working: Any, tmp_path: Path) -> None:
        flag = str(tmp_path / "flag")
        with nothing_left_behind():
            done = run(working.work(how="killed once", bad=7, flag=flag), "processes", workers=8)

        assert done.load("work") == list(range(8))


@pytest.mark.parametrize(
    ("how", "mode"),
    [("prints", "threads"), ("large", "threads"), *((how, "processes") for how in OUTPUTS)],
)
def test_no_output_of_a_unit_is_taken_for_its_answer(working: Any, how: str, mode: str) -> None:
    found = run(working.work(how=how), mode).load("work")

    wanted: list[Any] = list(range(8))
    if how == "large":
        wanted[3] = "x" * 5_000_000
    assert found == wanted


class TestIterator:
    @pytest.fixture
    def context(self, working: Any, project: Project) -> MapContext:
        from zenml.repo import Repository

        store = Repository.get_instance().artifact_store
        store.prepare()
        return MapContext(
            store=store.url, scope="units/key", step="s", import_roots=(str(project.folder),)
        )

    def units(self, how: str, count: int = 8, flag: str = "") -> list[Unit]:
        return [
            Unit("working:behave", {"how": how, "number": n, "bad": -1, "flag": flag}, "code")
            for n in range(count)
        ]

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("taken", [0, 1, 3])
    def test_closed_early_it_leaves_nothing_behind(
        self, context: MapContext, mode: Any, workers: int, taken: int
    ) -> None:
        with nothing_left_behind():
            results: Any = ProcessingLocalBackend(mode=mode, workers=workers).map(
                self.units("fine"), context
            )
            assert len({next(results)[0] for _ in range(taken)}) == taken
            results.close()

    @pytest.mark.parametrize("mode", MODES)
    def test_forgotten_it_leaves_nothing_behind(self, context: MapContext, mode: Any) -> None:
        with nothing_left_behind():
            backend = ProcessingLocalBackend(mode=mode, workers=2)
            next(iter(backend.map(self.units("fine"), context)))

    def test_closed_while_units_hang_it_ends_their_processes(
        self, context: MapContext, tmp_path: Path
    ) -> None:
        units = [*self.units("fine", 1), *self.units("wait for others", 4, str(tmp_path / "no"))]

        with nothing_left_behind():
            results: Any = ProcessingLocalBackend(mode="processes", workers=3).map(units, context)
            assert next(results) == (0, 0)
            results.close()

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("workers", [None, 1, 3])
    def test_no_units_are_no_results(
        self, context: MapContext, mode: Any, workers: int | None
    ) -> None:
        with nothing_left_behind():
            assert list(ProcessingLocalBackend(mode=mode, workers=workers).map([], context)) == []

    @pytest.mark.parametrize("mode", MODES)
    def test_each_unit_is_given_back_once(self, context: MapContext, mode: Any) -> None:
        backend = ProcessingLocalBackend(mode=mode, workers=3)

        found = sorted(backend.map(self.units("fine", 100), context))

        assert found == [(number, number) for number in range(100)]
