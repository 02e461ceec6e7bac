"""Runs of a small pipeline as jobs, each with one fault: every one ends, and ends right.

Processes are killed, ended, stopped and interrupted; writings to the store are torn, refused or
take long; disks are full, clocks jump. Then a user does what users do: waits for the run from
another process if its client is gone, sweeps up, runs it again. ``campaign_kit/faults.py`` says
what a run may come to after which fault; ``campaign_kit/play.py`` what has to hold besides.

Every run is drawn from a seed of its own, which is printed; so is the seed of all of them::

    pytest tests/campaign --campaign 1000
    pytest tests/campaign --campaign-seed N        the runs of that campaign again
    pytest tests/campaign --campaign-replay SEED   one run again
"""

from __future__ import annotations

import json
import queue
import random
import shutil
import site
import subprocess
import sys
import threading
import venv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core.testing import fake_distribution

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with all that is installed here, the campaign's store, and its clock."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    # What is installed here, editable or not.
    lines = [f"import site; site.addsitedir({found!r})" for found in site.getsitepackages()]
    (packages / "a-here.pth").write_text("\n".join(lines) + "\n")
    shutil.copytree(HERE / "campaign_kit", packages / "campaign_kit")
    fake_distribution(packages, "campaign-kit", entry_points={"kit": "campaign_kit.plugin"})
    (packages / "b-clock.pth").write_text("import campaign_kit.clock\n")
    return folder / "bin" / "python"


class Worker:
    """A process that plays runs, one after another."""

    def __init__(self, python: Path, folder: Path) -> None:
        (folder / "project" / ".zenml").mkdir(parents=True)
        shutil.copy(HERE / "chain.py", folder / "project")
        self.errors = folder / "errors.txt"
        with self.errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [python, "-m", "campaign_kit", folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def read(self) -> str:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended: {self.errors.read_text()[-3000:]}")
        return line

    def play(self, seed: int) -> dict[str, Any]:
        """What became of the run of a seed."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seed}\n")
        self._process.stdin.flush()
        return json.loads(self.read())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture
def played(
    python: Path, tmp_path: Path, campaign: Any, capsys: pytest.CaptureFixture[str]
) -> Iterator[Iterator[dict[str, Any]]]:
    """The runs, as they come to their ends; several are played at once."""
    chance = random.Random(campaign.seed)  # noqa: S311 - to be repeated, not to be guessed
    wanted = campaign.replay or chance.sample(range(1, 10**9), campaign.runs)
    with capsys.disabled():
        print(f"\n{len(wanted)} runs, --campaign-seed {campaign.seed}", flush=True)
    count = min(campaign.workers, len(wanted))
    seeds: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for seed in [*wanted, *([None] * count)]:
        seeds.put(seed)
    ended: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()

    def serve(number: int) -> None:
        try:
            worker = Worker(python, tmp_path / f"worker{number}")
            try:
                worker.read()
                while (seed := seeds.get()) is not None:
                    ended.put(worker.play(seed))
            finally:
                worker.close()
        except BaseException as error:  # noqa: BLE001 - raised where the runs are counted
            ended.put(error)
        ended.put(None)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()

    def results() -> Iterator[dict[str, Any]]:
        left = count
        while left:
            result = ended.get()
            if isinstance(result, BaseException):
                raise result
            if result is None:
                left -= 1
            else:
                yield result

    yield results()
    while not seeds.empty():  # a test that failed wants no more
        seeds.get()
    for _ in threads:
        seeds.put(None)
    for thread in threads:
        thread.join()


def test_every_run_ends_right_and_leaves_nothing_wrong_or_running(
    played: Iterator[dict[str, Any]], ends: Counter[tuple[str, str]], capsys: Any
) -> None:
    problems = []
    for number, run in enumerate(played, 1):
        ends[run["label"], run["end"]] += 1
        late = "" if run["struck"] else " (the run was over before it)"
        told = f"{number:4} seed {run['seed']:9} {run['seconds']:5.1f} s  {run['label']}{late}"
        with capsys.disabled():
            print(f"{told} -> {run['end']}", *run["problems"], sep="\n       ! ", flush=True)
        problems += [f"--campaign-replay {run['seed']}: {p}" for p in run["problems"]]
    assert not problems, "\n".join(problems)
