"""One row for each peer, read against this project's own."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from _measure import Series, marginal
from _report import milliseconds, show
from rich.console import Console
from rich.table import Table

from peers._cases import InstalledPeer

#: Chains up to this length tell the cost of a step; longer ones are not run with every peer.
_LONGEST = 500

_COLUMNS = {
    "import": "import",
    "one_step": "one step",
    "step": "each step",
    "cached_step": "each cached step",
    "fan": "fan-out",
}


@dataclass(frozen=True)
class PeerRow:
    """Medians in milliseconds; None where there is nothing to measure or measuring failed."""

    name: str
    version: str
    keeps: str
    figures: Mapping[str, float | None]
    remark: str = ""
    causes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def own_row(series: Mapping[str, Series], version: str) -> PeerRow:
    """Return the row of zenml-core, from series named like those of the peers."""
    return _row(series, "zenml-core", version, "values and records", "this project")


def peer_rows(peers: Iterable[InstalledPeer], series: Mapping[str, Series]) -> list[PeerRow]:
    """Return a row for every peer that was asked for, measured or not."""
    rows = []
    for installed in peers:
        peer = installed.peer
        if installed.environment is None:
            nothing = dict.fromkeys(_COLUMNS)
            rows.append(PeerRow(peer.name, "", peer.keeps, nothing, causes=[installed.cause]))
        else:
            version = installed.environment.version
            rows.append(_row(series, peer.name, version, peer.keeps, peer.remark))
    return rows


def print_peers(console: Console, own: PeerRow, peers: Sequence[PeerRow]) -> None:
    """Print the comparison: milliseconds, and in brackets the multiple of our own figure."""
    table = Table(
        title="Peers, in ms (multiple of zenml-core's)", title_justify="left", title_style="bold"
    )
    table.add_column("system", no_wrap=True)
    table.add_column("what it keeps")
    for title in _COLUMNS.values():
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("remark", overflow="fold")
    for row in (own, *peers):
        cells = [_cell(row.figures[column], own.figures[column]) for column in _COLUMNS]
        remark = "; ".join(text for text in (row.remark, *row.causes) if text)
        table.add_row(f"{row.name} {row.version}", row.keeps, *cells, remark)
    console.print(table)


def _row(series: Mapping[str, Series], name: str, version: str, keeps: str, remark: str) -> PeerRow:
    mine = {
        title.removeprefix(f"{name}/"): taken
        for title, taken in series.items()
        if title.startswith(f"{name}/")
    }
    figures = {
        # Ours is timed twice; of the peers it is what a pipeline's author imports.
        "import": _median(_over_bare(mine.get("import-authoring") or mine.get("import"))),
        "one_step": _median(_walls(mine.get("chain-1"))),
        "step": _median(_slope(mine, "chain")),
        "cached_step": _median(_slope(mine, "cached")),
        "fan": _median(_walls(mine.get("fan"))),
    }
    causes = sorted({taken.cause for taken in mine.values() if taken.cause})
    return PeerRow(name, version, keeps, figures, remark, causes)


def _slope(mine: Mapping[str, Series], kind: str) -> list[float]:
    """Return the cost of a step between chains of ten (or one) and the longest comparable one."""
    sizes = sorted(
        size
        for title, taken in mine.items()
        if taken.samples and title.startswith(f"{kind}-")
        if (size := int(title.removeprefix(f"{kind}-"))) <= _LONGEST
    )
    if len(sizes) < 2:
        return []
    # Between one step and ten lie first uses of this and that, which are not costs of a step.
    small = 10 if 10 in sizes[:-1] else sizes[0]
    large = sizes[-1]
    return marginal(mine[f"{kind}-{small}"].walls, mine[f"{kind}-{large}"].walls, large - small)


def _walls(series: Series | None) -> list[float]:
    return series.walls if series else []


def _over_bare(series: Series | None) -> list[float]:
    return series.over_bare if series else []


def _median(seconds: list[float]) -> float | None:
    return statistics.median(milliseconds(seconds)) if seconds else None


def _cell(figure: float | None, own: float | None) -> str:
    if figure is None:
        return "-"
    text = show(figure, "").strip()
    # A slope within the noise can come out negative; it is no multiple of anything.
    return f"{text} ({figure / own:.1f})" if own and own > 0 and figure > 0 else text
