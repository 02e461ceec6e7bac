"""How large the campaign is, where it begins, and what came of it."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from typing import NamedTuple

import pytest

#: Draws the runs that are played unless more, or others, are asked for.
_SEED = 2211
_ENDS = pytest.StashKey[Counter[tuple[str, str]]]()


class Campaign(NamedTuple):
    """What is asked for.

    Attributes:
        runs: How many.
        seed: What their seeds are drawn from.
        replay: Seeds of runs to play instead.
        workers: How many runs are played at once.
    """

    runs: int
    seed: int
    replay: list[int]
    workers: int


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("campaign", "runs that are hurt (tests/campaign)")
    group.addoption("--campaign", type=int, metavar="RUNS", help="how many, by default 40")
    group.addoption("--campaign-seed", type=int, metavar="N", help="draw the runs of that campaign")
    group.addoption(
        "--campaign-replay",
        type=int,
        action="append",
        metavar="SEED",
        help="play the run of that seed, and no other; may be given again",
    )
    group.addoption(
        "--campaign-workers", type=int, metavar="N", help="how many runs are played at once"
    )


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> Campaign:
    """What is asked for; where nothing could be asked, because all tests are run, the defaults."""

    def option(name: str) -> int | None:
        given: int | None = request.config.getoption(name, None)
        return given

    runs, seed = option("campaign"), option("campaign_seed")
    if seed is None:
        # By default always the same: whether a change passes is not to be drawn by lot.
        seed = _SEED if runs is None else secrets.randbelow(10**6)
    return Campaign(
        runs=runs or 40,
        seed=seed,
        replay=request.config.getoption("campaign_replay", None) or [],
        # Much of a run is waiting: for a process to start, for what is lost to be missed.
        workers=option("campaign_workers") or 2 * (os.cpu_count() or 1),
    )


@pytest.fixture(scope="session")
def ends(request: pytest.FixtureRequest) -> Counter[tuple[str, str]]:
    """How many runs came to which end, by fault; a table of it is printed when all is over."""
    counts: Counter[tuple[str, str]] = Counter()
    request.config.stash[_ENDS] = counts
    return counts


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = terminalreporter.config.stash.get(_ENDS, None)
    if not counts:
        return
    ends = sorted({end for _, end in counts})
    labels = sorted({label for label, _ in counts})
    width = max(map(len, labels))
    terminalreporter.section("campaign")
    terminalreporter.write_line(" | ".join(["fault".ljust(width), *ends]))
    for label in labels:
        cells = [str(counts[label, end] or "").rjust(len(end)) for end in ends]
        terminalreporter.write_line(" | ".join([label.ljust(width), *cells]))
    totals = [sum(counts[label, end] for label in labels) for end in ends]
    cells = [str(total).rjust(len(end)) for total, end in zip(totals, ends, strict=True)]
    terminalreporter.write_line(" | ".join(["all".ljust(width), *cells]))
