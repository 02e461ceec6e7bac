"""kill -9 at any moment: the next run completes, and does only what was not finished.

The moments are random. A failure names its seed; to see it again::

    ZENML_FAULTS_SEED=… pytest tests/faults/test_kill.py

``ZENML_FAULTS_MOMENTS`` sets how many moments are tried.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from zenml.core.engine._gc import collect, find_garbage
from zenml.core.testing import Project, processes_of_group, wait_until

SEED = int(os.environ.get("ZENML_FAULTS_SEED") or secrets.randbelow(10**9))
MOMENTS = int(os.environ.get("ZENML_FAULTS_MOMENTS") or 50)

#: Starting worker processes takes most of such a run's time, so fewer of its moments are tried.
SHARE = {"threads": 0.7, "processes": 0.3}


class ForkServer:
    """Runs the faulty pipeline in new processes without importing it anew. See its script."""

    def __init__(self, project: Project) -> None:
        self.folder = project.folder
        self.journal = project.folder / "journal.txt"
        self._server = project.start(
            "fork_server.py", stdin=subprocess.PIPE, stderr=None, stdout=subprocess.PIPE
        )
        assert self._read() == "ready"

    def _read(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def start(self, mode: str, store: Path) -> int:
        """Start a run; its process id, which is also its group's."""
        assert self._server.stdin is not None
        self._server.stdin.write(f"{self.folder}\t{mode}\t{store}\n")
        self._server.stdin.flush()
        return int(self._read())

    def end(self, process: int) -> int:
        """Wait for the run's end, and that of every process that it started; its exit status."""
        status = int(self._read())
        wait_until(lambda: not processes_of_group(process), what="the end of every process")
        return status

    def run(self, mode: str, store: Path) -> int:
        return self.end(self.start(mode, store))

    def notes(self) -> list[str]:
        """What was noted in the journal."""
        try:
            return self.journal.read_text().splitlines()
        except FileNotFoundError:
            return []

    def taken_notes(self) -> list[str]:
        """What was noted in the journal since it was last taken."""
        notes = self.notes()
        self.journal.unlink(missing_ok=True)
        return notes

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()


@pytest.fixture
def server(project: Project) -> Iterator[ForkServer]:
    made = ForkServer(project)
    yield made
    made.close()


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_the_next_run_completes_and_redoes_nothing_that_was_finished(
    mode: str, server: ForkServer, checks: Any, tmp_path: Path
) -> None:
    randomness = random.Random(f"{SEED} {mode}")  # noqa: S311 - to be repeated, not to be guessed
    moments = max(1, round(MOMENTS * SHARE[mode]))
    # What an undisturbed run does, and how long it takes.
    begun = time.perf_counter()
    assert server.run(mode, tmp_path / "undisturbed") == 0, output(server)
    duration = time.perf_counter() - begun
    expected = checks.committed(checks.store_at(tmp_path / "undisturbed"))
    assert len(expected) == 9
    all_notes = server.taken_notes()
    all_steps = {note for note in all_notes if note.startswith("step")}

    finished_at_the_kill: Counter[int] = Counter()
    units_at_the_kill = drafts_at_the_kill = survived = 0
    for number in range(moments):
        where = tmp_path / f"store{number}"
        whole_group = randomness.random() < 0.5
        # Half of the moments are spread over the run's time, and half over its work.
        after = randomness.randrange(len(all_notes)) if randomness.random() < 0.5 else 0
        moment = randomness.uniform(0, 0.005 if after else duration)
        told = f"seed {SEED}, {mode}, kill {number} at {moment:.4f} s after {after} notes"

        # When it is killed in the middle …
        process = server.start(mode, where)
        wait_until(lambda: len(server.notes()) >= after or not processes_of_group(process))  # noqa: B023
        begun = time.perf_counter()
        while time.perf_counter() - begun < moment:
            pass
        kill = os.killpg if whole_group else os.kill
        try:
            kill(process, signal.SIGKILL)
        except ProcessLookupError:
            survived += 1
        status = server.end(process)
        assert status in (-signal.SIGKILL, 0), f"{told}: {output(server)}"

        # … then nothing that can be seen is partial, …
        store = checks.store_at(where)
        finished: dict[str, Any] = {}
        units: set[str] = set()
        if where.is_dir():
            checks.check_store(store)
            finished, units = checks.committed(store), checks.finished_units(store)
            drafts = store.drafts_folder()  # which comes a moment after the store's own folder
            drafts_at_the_kill += drafts.is_dir() and any(drafts.iterdir())
        finished_at_the_kill[len(finished)] += 1
        units_at_the_kill += bool(units)
        server.taken_notes()

        # … the next run completes, …
        assert server.run(mode, where) == 0, f"{told}: {output(server)}"
        checks.check_store(store)
        assert checks.committed(store) == expected, told

        # … and does exactly what had not been finished.
        notes = server.taken_notes()
        assert len(notes) == len(set(notes)), told
        steps = {note for note in notes if note.startswith("step")}
        assert steps == all_steps - {f"step {name}" for name in finished}, told
        assert not {f"unit {unit}" for unit in units} & set(notes), told

        # What the killed process left behind can go, and nothing else goes with it.
        collect(store, list(find_garbage(store, grace=timedelta(0))))
        assert list(store.drafts_folder().iterdir()) == [], told
        checks.check_store(store)
        assert checks.committed(store) == expected, told

    print(
        f"seed {SEED}: {moments} kills of a run of {duration:.3f} s on {mode}; "
        f"{survived} came too late; {units_at_the_kill} left finished units, "
        f"{drafts_at_the_kill} left drafts; finished steps at the kill: "
        f"{dict(sorted(finished_at_the_kill.items()))}"
    )
    if moments >= 10:  # else chance may have it that none was in the middle
        assert any(0 < finished < 9 for finished in finished_at_the_kill)


def output(server: ForkServer) -> str:
    return (server.folder / "output.txt").read_text()[-4000:]


def test_as_a_user_would_be_hit(project: Project, checks: Any, tmp_path: Path) -> None:
    """Whole processes, also while they import and plan; one store that is hit again and again."""
    randomness = random.Random(SEED)  # noqa: S311
    begun = time.perf_counter()
    done = project.run("faulty.py", "--store", str(tmp_path / "undisturbed"))
    duration = time.perf_counter() - begun
    assert done.returncode == 0, done.stderr
    expected = checks.committed(checks.store_at(tmp_path / "undisturbed"))
    store = checks.store_at(tmp_path / "store")
    known: dict[str, Any] = {}

    for number in range(5):
        with project.start("faulty.py", "--store", str(store.root)) as process:
            begun, moment = time.perf_counter(), randomness.uniform(0, duration)
            while time.perf_counter() - begun < moment:
                pass
            os.killpg(process.pid, signal.SIGKILL)
        wait_until(lambda pid=process.pid: not processes_of_group(pid))
        if store.root.is_dir():
            checks.check_store(store)
            found = checks.committed(store)
            assert known.items() <= found.items(), f"seed {SEED}, kill {number}"
            known = found

    assert project.run("faulty.py", "--store", str(store.root)).returncode == 0
    assert checks.committed(store) == expected
    listed = project.zenml("run", "list", "--store", str(store.root))
    assert listed.returncode == 0
    assert " succeeded " in listed.stdout
    assert "running" not in listed.stdout


def test_a_reader_never_sees_anything_partial(
    server: ForkServer, checks: Any, tmp_path: Path
) -> None:
    randomness = random.Random(SEED)  # noqa: S311
    looked = 0
    for number in range(5):
        store = checks.store_at(tmp_path / f"store{number}")
        store.prepare()
        process = server.start("threads", store.root)
        looks = randomness.randrange(2, 12)
        for _ in range(looks):
            checks.check_store(store)
            looked += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        server.end(process)
        checks.check_store(store)

    assert looked >= 10


def test_a_terminated_run_leaves_no_process_and_is_lost_until_it_is_run_again(
    project: Project, checks: Any, tmp_path: Path, expected: Callable[[], Any]
) -> None:
    store = tmp_path / "store"
    journal = tmp_path / "journal.txt"
    variables = {"JOURNAL": str(journal)}
    arguments = ["--mode", "processes", "--store", str(store)]
    with project.start("faulty.py", *arguments, variables=variables) as process:
        wait_until(lambda: journal.exists() and "unit" in journal.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
    wait_until(lambda: not processes_of_group(process.pid), what="the end of every worker")

    listed = project.zenml("run", "list", "--store", str(store))
    assert " lost " in listed.stdout, listed.stdout + listed.stderr
    finished = checks.committed(checks.store_at(store))
    assert "source" in finished
    assert project.run("faulty.py", "--store", str(store)).returncode == 0
    assert checks.committed(checks.store_at(store)) == expected()
