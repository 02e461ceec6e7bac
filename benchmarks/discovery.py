"""How long zenml-core takes to find out what is installed, with up to 1,000 plugins.

Measures the zenml-core that is installed beside the interpreter which runs this file::

    python benchmarks/discovery.py [--quick] [--json]

The plugins are made up, with real metadata folders and modules, in a temporary folder on the path.
Timed are ``get_backends()`` inside a fresh process, ``zenml backend list`` as a whole process and,
as a floor, the standard library when it reads the same entry points and imports the same modules.
Nothing is asserted: a budget that is not kept is a red row.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from _fake_plugins import BROKEN_SHARE, make_plugins
from _measure import Case, Series, Stage, marginal, run_rounds
from _report import (
    Row,
    describe_machine,
    milliseconds,
    print_json,
    print_machine,
    print_rows,
    show,
    wide_console,
)
from rich.console import Console

WORKLOADS = Path(__file__).parent / "workloads"
ZENML = str(Path(sysconfig.get_path("scripts"), "zenml"))

#: Milliseconds for ``get_backends()`` with as many plugins as the last size.
BUDGET = 1000.0
#: A plugin's cost among many over its cost among few.
LINEARITY = 1.5
SIZES = (10, 100, 500, 1000)
QUICK_SIZES = (10, 100, 1000)


def main() -> None:
    """Measure and report."""
    options = _parse_arguments()
    machine = describe_machine()
    with (
        Console(stderr=True).status("making plugins") as status,
        tempfile.TemporaryDirectory(prefix="zenml-benchmark-plugins-") as folder,
    ):
        benchmark = Discovery(
            Path(folder),
            QUICK_SIZES if options.quick else SIZES,
            rounds=3 if options.quick else 7,
        )
        benchmark.series = run_rounds(benchmark.cases(), status.update)
        rows = benchmark.rows()
    if options.json:
        found = [row.to_dict() for row in rows]
        print_json({"benchmark": "discovery", "machine": machine, "rows": found}, benchmark.series)
        return
    console = wide_console()
    print_machine(console, machine)
    print_rows(console, "Discovery", rows)


@dataclass
class Discovery:
    """The measurements over all sizes, below one temporary folder."""

    root: Path
    sizes: Sequence[int]
    rounds: int
    series: dict[str, Series] = field(default_factory=dict)

    def cases(self) -> list[Case]:
        """Make the plugins, and return what is to be run with them."""
        cases = []
        for size in (0, *self.sizes):
            plugins = make_plugins(self.root / f"{size}", size)
            cases += [
                self._timed_inside("enumerate_backends.py", f"backends-{size}", plugins),
                self._timed_inside("import_entry_points.py", f"floor-{size}", plugins),
                self._whole(f"list-{size}", plugins),
            ]
        broken = make_plugins(self.root / "broken", self.sizes[-1], broken=True)
        return [*cases, self._timed_inside("enumerate_backends.py", "backends-broken", broken)]

    def rows(self) -> list[Row]:
        """Return the rows of the report, after the cases were run."""
        first, *_, before, last = self.sizes
        rows = [self._backends_row(f"{size}") for size in self.sizes]
        broken = self._backends_row(
            "broken", f"get_backends(), {last} plugins, one in {BROKEN_SHARE} broken"
        )
        early, late = self._cpu_slope(first, before), self._cpu_slope(before, last)
        return [
            *rows,
            broken,
            Row(
                f"a plugin, cpu from {before} to {last} over cpu from {first} to {before}",
                [b / a for a, b in zip(early, late, strict=False) if a > 0],
                unit="x",
                budget=LINEARITY,
                remark="1 is linear",
            ),
            Row(
                f"standard library's floor, {last} plugins",
                self._inside(f"floor-{last}"),
                remark=self.series[f"floor-{last}"].cause or "no isolation, order or diagnosis",
            ),
            self._whole_row(0),
            self._whole_row(last),
        ]

    def _timed_inside(self, script: str, name: str, plugins: Path) -> Case:
        return Case(
            name,
            [Stage([sys.executable, script, str(self._answers(name))], name)],
            self.rounds,
            prepare=partial(_copy_workload, script),
            environment={"PYTHONPATH": str(plugins)},
        )

    def _whole(self, name: str, plugins: Path) -> Case:
        command = [ZENML, "backend", "list", "--json"]
        environment = {"PYTHONPATH": str(plugins)}
        return Case(name, [Stage(command, name)], self.rounds, environment=environment)

    def _backends_row(self, size: str, what: str = "") -> Row:
        series = self.series[f"backends-{size}"]
        figures = self._inside(f"backends-{size}")
        floor = self._inside(f"floor-{size}")
        cpu = self._inside(f"backends-{size}", "cpu")
        remarks = [series.cause] if series.cause else [self._describe_found(size)]
        if figures and floor:
            times = statistics.median(a / b for a, b in zip(figures, floor, strict=False))
            remarks.append(f"{times:.1f} x the floor")
        return Row(
            what or f"get_backends(), {size} plugins",
            figures,
            budget=BUDGET if size in (f"{self.sizes[-1]}", "broken") else None,
            cpu=statistics.median(cpu) if cpu else None,
            remark="; ".join(remarks),
        )

    def _whole_row(self, size: int) -> Row:
        series = self.series[f"list-{size}"]
        return Row(
            f"zenml backend list --json, {size} plugins more, whole process",
            milliseconds(series.walls),
            cpu=1000 * statistics.median(series.cpus) if series.cpus else None,
            times_bare=series.ratio,
            remark=series.cause or f"peak {show(series.peak_mib, 'MiB')}",
        )

    def _describe_found(self, size: str) -> str:
        statuses = self._read(f"backends-{size}")[-1]["statuses"]
        return "rows: " + ", ".join(f"{count} {name}" for name, count in statuses.items())

    def _cpu_slope(self, small: int, large: int) -> list[float]:
        """Processor time of a plugin, which other people's work disturbs less than the wall's."""
        fewer, more = (self._inside(f"backends-{size}", "cpu") for size in (small, large))
        return marginal(fewer, more, large - small)

    def _inside(self, name: str, clock: str = "wall") -> list[float]:
        """Milliseconds that the script itself measured, one figure per round."""
        return milliseconds([answer[clock] for answer in self._read(name)])

    def _read(self, name: str) -> list[dict[str, Any]]:
        path = self._answers(name)
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def _answers(self, name: str) -> Path:
        return self.root / f"{name}.jsonl"


def _copy_workload(name: str, folder: Path) -> None:
    shutil.copyfile(WORKLOADS / name, folder / name)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
