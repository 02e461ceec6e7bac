"""What zenml-core costs beside the user's own work: imports, listing, steps, fan-out.

Measures the zenml-core that is installed beside the interpreter which runs this file::

    python benchmarks/overhead.py [--quick] [--json] [--peers [NAME ...]] [--peer-cache DIR]

Figures are wall time of whole processes; ``_measure.py`` says how they are taken. Nothing is
asserted: a budget that is not kept is a red row.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from itertools import pairwise
from pathlib import Path

from _imports import imported_packages
from _measure import Case, Series, Stage, marginal, run_rounds
from _process import ProcessFailedError
from _report import (
    Row,
    describe_machine,
    milliseconds,
    print_json,
    print_machine,
    print_rows,
    wide_console,
)
from peers import (
    FAN,
    PEERS,
    default_cache,
    install_peers,
    own_row,
    peer_cases,
    peer_rows,
    print_peers,
)
from rich.console import Console

WORKLOADS = Path(__file__).parent / "workloads"
ZENML = str(Path(sysconfig.get_path("scripts"), "zenml"))

#: Top-level packages that take seconds to import, which a listing must leave alone.
SDKS = {"apache_beam", "google", "kubernetes", "numpy", "pandas", "polars", "pyarrow", "pyspark"}
SDKS |= {"sklearn", "tensorflow", "torch"}

#: Budgets in milliseconds.
IMPORT, LISTING, ONE_STEP, STEP, CACHED_STEP, FAN_OUT = 60.0, 200.0, 350.0, 2.0, 0.5, 600.0
#: A step late in a long chain over one in a shorter chain. Quadratic work anywhere shows as a
#: multiple of this; what is below it can be noise.
LINEARITY = 1.5

SIZES = (1, 10, 100, 500, 10_000)
QUICK_SIZES = (1, 10, 100, 500)


def main() -> None:
    """Measure and report."""
    options = _parse_arguments()
    sizes = QUICK_SIZES if options.quick else SIZES
    machine = describe_machine()
    # Progress goes to standard error: standard output holds the report and nothing else.
    with (
        Console(stderr=True).status("starting") as status,
        tempfile.TemporaryDirectory(prefix="zenml-benchmark-homes-") as homes,
    ):
        wanted = [PEERS[name] for name in options.peers]
        peers = install_peers(wanted, options.peer_cache, status.update)
        cases = own_cases(sizes, quick=options.quick)
        for installed in peers:
            home = Path(homes, installed.peer.distribution)
            cases += peer_cases(installed, home, quick=options.quick)
        series = run_rounds(cases, status.update)
        rows = own_rows(series, sizes)
    compared = peer_rows(peers, series)
    if options.json:
        found = {
            "benchmark": "overhead",
            "machine": machine,
            "rows": [row.to_dict() for row in rows],
            "peers": [row.to_dict() for row in compared],
        }
        print_json(found, series)
        return
    console = wide_console()
    print_machine(console, machine)
    print_rows(console, "Overhead", rows)
    if compared:
        print_peers(console, own_row(series, _own_version()), compared)


def own_cases(sizes: Sequence[int], *, quick: bool) -> list[Case]:
    """Return what is run of zenml-core. Short processes vary most and get the most rounds."""
    python = sys.executable
    often = 3 if quick else 15
    cases = [
        _simple("import", [python, "-c", "import zenml.core"], often),
        _simple("import-authoring", [python, "-c", "import zenml.pipelines"], often),
        _simple("list", [ZENML, "backend", "list"], often),
    ]
    for size in sizes:
        command = [python, "chain.py", str(size)]
        cases.append(
            Case(
                f"zenml-core: chain of {size}",
                [
                    Stage(command, f"zenml-core/chain-{size}"),
                    Stage(command, f"zenml-core/cached-{size}"),
                ],
                rounds=3 if quick or size > 1000 else 7 if size > 100 else often,
                prepare=partial(_copy_workload, "chain.py"),
            )
        )
    cases.append(
        Case(
            f"zenml-core: fan-out of {FAN}",
            [Stage([python, "fan.py", str(FAN)], "zenml-core/fan")],
            rounds=3 if quick else 7,
            prepare=partial(_copy_workload, "fan.py"),
        )
    )
    return cases


def own_rows(series: Mapping[str, Series], sizes: Sequence[int]) -> list[Row]:
    """Return the rows of the report."""
    mine = {
        title.removeprefix("zenml-core/"): taken
        for title, taken in series.items()
        if title.startswith("zenml-core/")
    }
    return [
        _row("import zenml.core, over bare Python", mine["import"], IMPORT, over_bare=True),
        _row("import zenml.pipelines, over bare Python", mine["import-authoring"], over_bare=True),
        _row("zenml backend list", mine["list"], LISTING, remark=_describe_listing()),
        _row("pipeline of one step", mine["chain-1"], ONE_STEP),
        *_chain_rows(mine, sizes, "chain", "step", STEP),
        *_chain_rows(mine, sizes, "cached", "cached step", CACHED_STEP),
        _row(f"fan-out of {FAN}, joined by one", mine["fan"], FAN_OUT),
    ]


def _chain_rows(
    mine: Mapping[str, Series], sizes: Sequence[int], kind: str, what: str, budget: float
) -> list[Row]:
    """Return the marginal cost of a step for each length, and how linear it is."""
    rows = []
    for small, large in pairwise(sizes):
        shorter, longer = mine[f"{kind}-{small}"], mine[f"{kind}-{large}"]
        cpu = milliseconds(marginal(shorter.cpus, longer.cpus, large - small))
        rows.append(
            Row(
                f"{what}, from chain of {small} to {large}",
                milliseconds(marginal(shorter.walls, longer.walls, large - small)),
                # Fewer steps cost less than the noise of the processes around them.
                budget=budget if large - small >= 400 else None,
                cpu=statistics.median(cpu) if cpu else None,
                remark=longer.cause or _describe_whole(longer),
            )
        )
    start, *_, middle, end = sizes
    # Of processor time: a wall clock's noise would hide twice the cost in the shorter chain.
    first, second, third = (mine[f"{kind}-{size}"].cpus for size in (start, middle, end))
    early, late = marginal(first, second, middle - start), marginal(second, third, end - middle)
    rows.append(
        Row(
            f"{what}, cpu from {middle} to {end} over cpu from {start} to {middle}",
            [b / a for a, b in zip(early, late, strict=False) if a > 0],
            unit="x",
            budget=LINEARITY,
            remark=mine[f"{kind}-{end}"].cause or "1 is linear",
        )
    )
    return rows


def _row(
    what: str,
    series: Series,
    budget: float | None = None,
    *,
    over_bare: bool = False,
    remark: str = "",
) -> Row:
    return Row(
        what,
        milliseconds(series.over_bare if over_bare else series.walls),
        budget=budget,
        cpu=1000 * statistics.median(series.cpus) if series.cpus and not over_bare else None,
        times_bare=series.ratio,
        remark=series.cause or remark,
    )


def _describe_whole(series: Series) -> str:
    if not series.samples:
        return ""
    fastest = min(series.walls)
    return f"whole process from {fastest:.2f} s, peak {series.peak_mib:.0f} MiB"


def _describe_listing() -> str:
    """Say what a listing imports, and of how many plugins."""
    plugins = len(metadata.entry_points(group="zenml.plugins"))
    try:
        heavy = SDKS & imported_packages([ZENML, "backend", "list"])
    except ProcessFailedError as error:
        return str(error)
    return f"{plugins} plugins; SDKs imported: {', '.join(sorted(heavy)) or 'none'}"


def _simple(name: str, command: Sequence[str], rounds: int) -> Case:
    return Case(f"zenml-core: {name}", [Stage(command, f"zenml-core/{name}")], rounds)


def _copy_workload(name: str, folder: Path) -> None:
    shutil.copyfile(WORKLOADS / name, folder / name)


def _own_version() -> str:
    try:
        return metadata.version("zenml-core")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and shorter chains")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=sorted(PEERS),
        metavar="NAME",
        help=f"measure these too; all without a name: {', '.join(sorted(PEERS))}",
    )
    parser.add_argument(
        "--peer-cache",
        type=Path,
        default=default_cache(),
        metavar="DIR",
        help="keeps the environments of the peers (default: %(default)s)",
    )
    options = parser.parse_args()
    # Absent is None, and the bare flag an empty list.
    options.peers = [] if options.peers is None else options.peers or sorted(PEERS)
    return options


if __name__ == "__main__":
    main()
