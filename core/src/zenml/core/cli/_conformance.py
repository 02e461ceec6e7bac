"""``zenml plugin conformance``: which cases of the conformance kit pass, for all that is installed.

Nothing is tested here. A distribution publishes its results as ``conformance.json`` beside its
light module, which the registry has imported anyway; the backends themselves are not imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from zenml.core.cli._output import echo, echo_json, one_line
from zenml.core.errors import DataError
from zenml.core.plugins._entry_points import normalise
from zenml.core.plugins._registry import Offer, Registry
from zenml.core.plugins._specs import PluginInfo
from zenml.core.testing._results import SuiteResult, read_results
from zenml.repo import Repository

__all__ = ["conformance"]

FILE = "conformance.json"

#: Kind in results to kind in the registry, and what a table of it is called.
_KINDS = {
    "orchestrator": ("orchestrator", "Orchestrators"),
    "processing": ("processing", "Processing"),
    "training": ("training", "Training"),
    "artifact store": ("store", "Artifact stores"),
}

_SIGNS = {"passed": "✓", "failed": "✗", "skipped": "–", "lacking": "·"}  # noqa: RUF001 - a dash

_LEGEND = (
    "✓ passes; ✗ fails; – could not be tried; "  # noqa: RUF001 - the sign is a dash
    "· fails, as it has to without a capability; "
    "empty: not a case of that suite."
)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def conformance(files: Sequence[Path], as_json: bool) -> None:
    """Show which conformance cases each installed backend and store passes.

    Every FILE of 'pytest --conformance-json' is shown as well. It stands in for what the
    distributions that it is about have published.
    """
    registry = Repository.get_instance().registry
    given: list[SuiteResult] = []
    unusable = 0
    for path in files:
        try:
            given += read_results(path)
        except DataError as error:
            unusable += 1
            _complain(error)
    about = {normalise(suite.distribution) for suite in given}
    published = [s for s in _published(registry) if normalise(s.distribution) not in about]
    # By what its column says: of two results for one thing, the later file counts.
    suites = list({_identity(suite): suite for suite in (*published, *given)}.values())
    without = _without_results(registry, suites)
    if as_json:
        rows = [
            {
                "kind": kind,
                "type": offer.name,
                "distribution": offer.plugin.distribution,
                "version": offer.plugin.version,
            }
            for kind, offer in without
        ]
        echo_json({"suites": sorted(suites, key=_identity), "unpublished": rows})
    else:
        _show(suites, without)
    if unusable:
        raise SystemExit(1)


# -- reading ---------------------------------------------------------------------------------------


def _published(registry: Registry) -> Iterable[SuiteResult]:
    """What the installed distributions say of themselves, as they are installed."""
    seen = set()
    for plugin in registry.plugins:
        path = _file_of(plugin)
        if path is None or path in seen:
            continue
        seen.add(path)
        try:
            for suite in read_results(path):
                _check_owner(suite, plugin, path)
                yield suite
        except DataError as error:
            _complain(error)


def _file_of(plugin: PluginInfo) -> Path | None:
    module = sys.modules.get(plugin.module)
    origin = getattr(module, "__file__", None)
    # A module outside every package lies among those of other distributions.
    if plugin.status != "available" or not origin or not getattr(module, "__package__", None):
        return None
    path = Path(origin).parent / FILE
    return path if path.is_file() else None


def _check_owner(suite: SuiteResult, plugin: PluginInfo, path: Path) -> None:
    kind, _ = _KINDS.get(suite.kind, ("", ""))
    if normalise(suite.distribution) != normalise(plugin.distribution):
        problem = f"it is about {suite.distribution or 'no distribution'}"
    elif suite.version != plugin.version:
        problem = f"it is about version {suite.version or 'unknown'}"
    elif f"{kind}:{suite.type}" not in plugin.offers:
        problem = f"it is about {suite.kind} '{suite.type}', which the plugin does not offer"
    else:
        return
    raise DataError(
        f"{problem}; installed is {plugin.distribution} {plugin.version}",
        where=str(path),
        remedy=f"report it to the authors of {plugin.distribution}",
    )


def _complain(error: DataError) -> None:
    click.echo(one_line(f"{error.where}: {error.message}; {error.remedy}", 500), err=True)


def _identity(suite: SuiteResult) -> tuple[str, ...]:
    return (suite.kind, suite.type, suite.distribution, suite.version, suite.suite)


def _without_results(
    registry: Registry, suites: Iterable[SuiteResult]
) -> Sequence[tuple[str, Offer]]:
    """What is installed and has no column, with its kind as results spell it."""
    known = {(s.kind, s.type, normalise(s.distribution)) for s in suites}
    return [
        (kind, offer)
        for kind, (registered, _) in _KINDS.items()
        for offer in sorted(registry.offers, key=lambda o: (o.name, o.plugin.distribution))
        if offer.kind == registered
        and (kind, offer.name, normalise(offer.plugin.distribution)) not in known
    ]


# -- printing --------------------------------------------------------------------------------------


def _show(suites: Sequence[SuiteResult], without: Sequence[tuple[str, Offer]]) -> None:
    names = {kind: name for kind, (_, name) in _KINDS.items()}
    others = sorted({suite.kind for suite in suites} - names.keys())
    for kind in (*names, *others):
        columns = sorted((s for s in suites if s.kind == kind), key=_identity)
        if columns:
            echo(f"### {names.get(kind, _cell(kind))}\n")
            _show_table(columns)
    echo(_LEGEND if suites else "No conformance results are published or given.")
    if without:
        listed = ", ".join(
            f"{kind} {offer.name} ({offer.plugin.distribution} {offer.plugin.version})"
            for kind, offer in without
        )
        echo(f"\nInstalled without published results: {listed}.")


def _show_table(columns: Sequence[SuiteResult]) -> None:
    reasons: dict[str, int] = {}
    found = [{case.name: case for case in suite.cases} for suite in columns]
    lines = [["case", *_titles(columns)]]
    for name in dict.fromkeys(name for cases in found for name in cases):
        line = [_cell(name.removeprefix("test_").replace("_", " "))]
        for cases in found:
            case = cases.get(name)
            sign = _SIGNS[case.result] if case else ""
            if case and case.result != "passed":
                reason = one_line(case.reason, 200) or "no reason is recorded"
                sign += f" ({reasons.setdefault(reason, len(reasons) + 1)})"
            line.append(sign)
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        echo(f"| {' | '.join(cells)} |")
        if not number:
            echo(f"| {' | '.join('-' * width for width in widths)} |")
    echo()
    for reason, number in reasons.items():
        echo(f"{number}. {reason}")
    if reasons:
        echo()


def _titles(columns: Sequence[SuiteResult]) -> list[str]:
    """``type (distribution version)``, and the suite where that alone says too little."""
    plain = []
    for suite in columns:
        origin = f"{suite.distribution} {suite.version}".strip()
        plain.append(f"{suite.type} ({origin})" if origin else suite.type)
    return [
        _cell(f"{title}, {suite.suite}" if plain.count(title) > 1 else title)
        for title, suite in zip(plain, columns, strict=True)
    ]


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")
