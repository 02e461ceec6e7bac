"""What a benchmark found: rows with budgets, as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Literal

from _measure import Series
from rich.console import Console
from rich.table import Table

Verdict = Literal["ok", "over", "failed", ""]

_COLOURS: dict[Verdict, str] = {"ok": "green", "over": "red", "failed": "red", "": ""}


@dataclass(frozen=True)
class Row:
    """One measured quantity: the spread over the rounds, and the budget for its median."""

    what: str
    #: One figure per round, in ``unit``.
    figures: Sequence[float]
    unit: Literal["ms", "x", "s", "MiB", "bytes"] = "ms"
    budget: float | None = None
    #: Median of the processor time behind the figures, in ``unit``. Far below the median of the
    #: figures it says that the machine was busy with something else.
    cpu: float | None = None
    #: Wall time as a multiple of the bare interpreter's, where that means something.
    times_bare: float | None = None
    #: Why there are no figures, or what else there is to know.
    remark: str = ""

    @property
    def median(self) -> float | None:
        """The figure that is quoted."""
        return statistics.median(self.figures) if self.figures else None

    @property
    def verdict(self) -> Verdict:
        """How the median stands to the budget; empty without one."""
        if self.median is None:
            return "failed"
        if self.budget is None:
            return ""
        return "ok" if self.median <= self.budget else "over"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, the derived figures included."""
        derived = {
            "min": min(self.figures, default=None),
            "median": self.median,
            "max": max(self.figures, default=None),
            "verdict": self.verdict,
        }
        return asdict(self) | derived


def milliseconds(seconds: Sequence[float]) -> list[float]:
    """Convert the unit of measurement to the unit of the reports."""
    return [1000 * value for value in seconds]


def describe_machine() -> dict[str, Any]:
    """Return what a reader must know to judge the figures."""
    installed = sorted(
        {
            f"{distribution.name} {distribution.version}"
            for distribution in metadata.distributions()
            if distribution.name.lower().startswith("zenml")
        }
    )
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "installed": installed,
    }


def print_rows(console: Console, title: str, rows: Sequence[Row]) -> None:
    """Print the table that people read."""
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
    table.add_column("what", overflow="fold")
    for name in ("min", "median", "max", "cpu", "x bare", "budget"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    table.add_column("remark", overflow="fold")
    for row in rows:
        spread = (min(row.figures), row.median, max(row.figures)) if row.figures else (None,) * 3
        table.add_row(
            row.what,
            *(show(value, row.unit) for value in spread),
            "" if row.cpu is None else show(row.cpu, row.unit),
            "" if row.times_bare is None else f"{row.times_bare:.1f}",
            "" if row.budget is None else f"≤ {show(row.budget, row.unit)}",
            row.verdict,
            row.remark,
            style=_COLOURS[row.verdict],
        )
    console.print(table)


def wide_console() -> Console:
    """Standard output; where that is no terminal, wide enough for a table's rows."""
    console = Console()
    return console if console.is_terminal else Console(width=170)


def print_machine(console: Console, machine: Mapping[str, Any]) -> None:
    """Print the line that says where and when this was measured."""
    installed = ", ".join(machine["installed"]) or "zenml-core is not installed"
    console.print(
        f"{machine['time']}, Python {machine['python']}, {machine['system']}, "
        f"{machine['cpus']} CPUs, load {machine['load'][0]}: {installed}",
        highlight=False,
    )


def print_json(document: Mapping[str, Any], series: Mapping[str, Series]) -> None:
    """Print everything that was measured, down to the single process, as one JSON document."""
    samples = {name: asdict(taken) for name, taken in series.items()}
    print(json.dumps({**document, "series": samples}, indent=2))


def show(value: float | None, unit: str = "ms") -> str:
    """Write a figure with as many digits as carry meaning."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".replace(",", " ")
