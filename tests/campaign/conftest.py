"""How large the campaign is, where it begins, and what came of it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("campaign", "runs that are hurt")
    group.addoption("--campaign", type=int, default=40, metavar="RUNS", help="how many runs")
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


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--campaign-seed") is None:
        config.option.campaign_seed = secrets.randbelow(10**6)


def pytest_report_header(config: pytest.Config) -> str:
    return f"campaign: --campaign-seed {config.getoption('--campaign-seed')}"


@pytest.fixture(scope="session")
def ends(request: pytest.FixtureRequest) -> Iterator[Counter[tuple[str, str]]]:
    """How many runs came to which end, by fault; told when all is over."""
    counts: Counter[tuple[str, str]] = Counter()
    request.config.stash[_ENDS] = counts
    return counts


_ENDS = pytest.StashKey[Counter[tuple[str, str]]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = terminalreporter.config.stash.get(_ENDS, None)
    if not counts:
        return
    ends = sorted({end for _, end in counts})
    width = max(len(label) for label, _ in counts)
    terminalreporter.section("campaign")
    terminalreporter.write_line(" | ".join(["fault".ljust(width), *ends]))
    for label in sorted({label for label, _ in counts}):
        cells = [str(counts[label, end] or "").rjust(len(end)) for end in ends]
        terminalreporter.write_line(" | ".join([label.ljust(width), *cells]))
    totals = [str(sum(counts[key] for key in counts if key[1] == end)) for end in ends]
    cells = [total.rjust(len(end)) for total, end in zip(totals, ends, strict=True)]
    terminalreporter.write_line(" | ".join(["all".ljust(width), *cells]))
