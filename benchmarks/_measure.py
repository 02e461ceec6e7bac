"""Timing of whole processes, in turn, each beside a bare interpreter run in the same second.

A shared machine drifts by half within minutes, so no figure here stands alone: every timed process
is preceded by ``python -c pass`` in the same interpreter, cases take turns round by round instead
of one after the other, and what is reported are medians over the rounds.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from _process import Cost, ProcessFailedError, run_process
from _service import Service, running


@dataclass(frozen=True)
class Sample:
    """One timed process, and wall seconds of the bare interpreter that ran just before it."""

    cost: Cost
    bare: float


@dataclass(frozen=True)
class Stage:
    """One command of a case, timed into the series that it names.

    Without a series it is preparation, which the comparison must not count: filling a cache, say,
    or the first migration of a peer's database.
    """

    arguments: Sequence[str]
    series: str | None = None


@dataclass(frozen=True)
class Case:
    """Commands run one after the other in one fresh folder, which is deleted afterwards."""

    name: str
    stages: Sequence[Stage]
    rounds: int
    #: Fills the fresh folder; not timed.
    prepare: Callable[[Path], None] = lambda _: None
    environment: Mapping[str, str] = field(default_factory=dict)
    #: The user's home folder; each round has a fresh one unless given.
    home: Path | None = None
    #: The interpreter whose bare start-up is taken beside each sample.
    interpreter: str = sys.executable
    timeout: float = 600.0
    #: Up while the stages run; its start is not timed.
    service: Service | None = None
    #: Whether to look at the memory of all processes together.
    memory: bool = False
    #: Looks at the folder when all is done, before it is deleted; not timed.
    inspect: Callable[[Path], None] = lambda _: None


@dataclass
class Series:
    """The samples of one stage in the order of the rounds, or the reason why there are none."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    cause: str | None = None

    @property
    def walls(self) -> list[float]:
        """Wall seconds."""
        return [sample.cost.wall for sample in self.samples]

    @property
    def cpus(self) -> list[float]:
        """Processor seconds, which other people's work disturbs less."""
        return [sample.cost.cpu for sample in self.samples]

    @property
    def over_bare(self) -> list[float]:
        """Wall seconds beyond those of the bare interpreter of the same moment."""
        return [sample.cost.wall - sample.bare for sample in self.samples]

    @property
    def ratio(self) -> float | None:
        """Median of wall time as a multiple of the bare interpreter's."""
        if not self.samples:
            return None
        return statistics.median(sample.cost.wall / sample.bare for sample in self.samples)

    @property
    def peak_mib(self) -> float:
        """Largest resident set of all samples, in MiB."""
        return max((sample.cost.peak_mib for sample in self.samples), default=0.0)


def marginal(small: Sequence[float], large: Sequence[float], steps: int) -> list[float]:
    """Seconds for each of the ``steps`` by which two workloads differ, one figure per round.

    Pairing by round cancels the start-up that both share as it was at that moment.
    """
    return [(b - a) / steps for a, b in zip(small, large, strict=False)]


def run_rounds(cases: Iterable[Case], announce: Callable[[str], None]) -> dict[str, Series]:
    """Run all cases in turn, round by round, and return the series by name.

    A case that fails is not tried again: its series carry the cause, and the others go on.
    """
    waiting = list(cases)
    series = {
        stage.series: Series(stage.series)
        for case in waiting
        for stage in case.stages
        if stage.series is not None
    }
    for turn in range(max((case.rounds for case in waiting), default=0)):
        for case in [case for case in waiting if turn < case.rounds]:
            announce(f"round {turn + 1}: {case.name}")
            if not _run_case(case, series):
                waiting.remove(case)
    return series


def _run_case(case: Case, series: dict[str, Series]) -> bool:
    """Take one sample of each stage; returns whether all went well."""
    waiting = list(case.stages)
    folder = Path(tempfile.mkdtemp(prefix="zenml-benchmark-"))
    work = folder / "work"
    home = case.home or folder / "home"
    environment = _home_variables(home) | dict(case.environment)
    try:
        work.mkdir()
        home.mkdir(exist_ok=True)
        case.prepare(work)
        served = running(case.service, work, environment) if case.service else nullcontext()
        with served:
            while waiting:
                stage = waiting[0]
                if case.service:
                    first = len(waiting) == len(case.stages)
                    time.sleep(case.service.settle if first else case.service.drain)
                bare = run_process([case.interpreter, "-c", "pass"], work, environment)
                cost = run_process(
                    stage.arguments, work, environment, case.timeout, memory=case.memory
                )
                if stage.series is not None:
                    series[stage.series].samples.append(Sample(cost, bare.wall))
                waiting.pop(0)
        case.inspect(work)
    except ProcessFailedError as failure:
        for missed in waiting:
            if missed.series is not None:
                series[missed.series].cause = f"{case.name}: {failure}"
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return True


def _home_variables(home: Path) -> dict[str, str]:
    """Environment that keeps whatever a system stores about its user inside ``home``."""
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
    }
