"""``zenml doctor``: imports every backend in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from zenml.core.cli._output import echo, echo_json, one_line, table
from zenml.core.plugins import BackendInfo, FormatSpec, StoreSpec
from zenml.core.plugins._entry_points import plugin_entry_points
from zenml.core.plugins._registry import DISABLE, Offer
from zenml.repo import Repository

__all__ = ["doctor"]

#: Seconds after which an import is held to hang.
TIMEOUT = 60.0

# Imports one class, with the path of the process that asks (and not the current folder), and says
# in the report what came of it; there is none if the import ends the process. A foreign
# ``zenml/__init__.py`` has a row of its own and must not spoil this one.
_PROBE = """
import sys
target, kind, report, *sys.path[:] = sys.argv[1:]
from _zenml_main import restore_namespace
restore_namespace()
from zenml.core.cli._probe import probe
said = probe(target, kind)
with open(report, "w", encoding="utf-8") as file:
    file.write(said)
"""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What came of importing one class.

    Attributes:
        kind: What it is.
        name: Its registered name.
        distribution: Where it comes from.
        ok: Whether it can be used.
        seconds: How long the import took.
        cause: What went wrong.
        remedy: What to do about it.
    """

    kind: str
    name: str
    distribution: str
    ok: bool
    seconds: float = 0.0
    cause: str | None = None
    remedy: str | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--timeout", default=TIMEOUT, show_default=True, help="Seconds for each import.")
def doctor(as_json: bool, timeout: float) -> None:
    """Import every backend in a process of its own, so that a crash or a hang is a row.

    Exits with 1 if anything is wrong.
    """
    repository = Repository.get_instance()
    _ = repository.config  # nothing can be told of plugins under rules that cannot be read
    rows = _light_modules(timeout)
    registry = repository.registry
    told = {(row.kind, row.name, row.distribution) for row in rows}
    backends = [
        row for row in registry.backends() if (row.kind, row.name, row.distribution) not in told
    ]
    others = [one for one in registry.offers if isinstance(one.spec, (StoreSpec, FormatSpec))]
    # Nearly all of the time is Python's start; a backend may need a gigabyte to be imported.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        rows += pool.map(lambda row: _diagnose(row, timeout), [*backends, *others])
    if as_json:
        echo_json(rows)
    else:
        table(
            ("kind", "name", "distribution", "state", "import"),
            [
                (r.kind, r.name, r.distribution, "ok" if r.ok else "BROKEN", f"{r.seconds:.2f} s")
                for r in rows
            ],
            empty="no backend is installed; pip install zenml-local gives the defaults",
        )
        for row in rows:
            if not row.ok:
                echo(f"\n{row.kind} {row.name}: {row.cause}\n  what to do: {row.remedy}")
    if not all(row.ok for row in rows):
        raise SystemExit(1)


def _light_modules(timeout: float) -> list[Diagnosis]:
    """Rows for plugins whose own module ends the process, or hangs, when backends are listed.

    Such a plugin takes every command down with it, so this one must not import it: it is disabled
    for the rest of the command.
    """
    if _run("", "registry", timeout).cause is None:
        return []
    rows = []
    entries = plugin_entry_points()
    labels = [f"{entry.distribution}:{entry.name}" for entry in entries]
    given = os.environ.get(DISABLE, "")
    for entry, label in zip(entries, labels, strict=True):
        others = [one for one in labels if one != label]
        found = _run("", "registry", timeout, {DISABLE: " ".join([given, *others])})
        if found.cause is None:
            continue
        os.environ[DISABLE] = f"{os.environ.get(DISABLE, '')} {label}"
        rows.append(
            Diagnosis(
                kind="plugin",
                name=entry.name,
                distribution=entry.distribution,
                ok=False,
                seconds=found.seconds,
                cause=found.cause,
                remedy=f"set {DISABLE}={label}; until then most commands end in the same way",
            )
        )
    return rows


def _diagnose(row: BackendInfo | Offer, timeout: float) -> Diagnosis:
    if isinstance(row, Offer):
        distribution, target = row.plugin.distribution, row.spec.target
    else:
        distribution, target = row.distribution or "", row.target or ""
    cause, remedy, seconds = row.cause, row.remedy, 0.0
    if row.status == "available":
        seconds, cause = _run(target, row.kind, timeout)
        remedy = cause and (
            f"pip install --force-reinstall {distribution}, or report it to its authors, or "
            f"set {DISABLE}={distribution}"
        )
    return Diagnosis(
        kind=row.kind,
        name=row.name,
        distribution=distribution,
        # A plugin that somebody disabled on purpose is not ill.
        ok=cause is None or row.status == "disabled",
        seconds=seconds,
        cause=cause,
        remedy=remedy,
    )


class _Finding(NamedTuple):
    seconds: float
    cause: str | None


def _run(
    target: str, kind: str, timeout: float, variables: Mapping[str, str] | None = None
) -> _Finding:
    """Import ``target`` in a process of its own. The cause is None if that went well."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="zenml-doctor-") as folder:
        report, errors = Path(folder, "report"), Path(folder, "stderr")
        # Files, for a pipe stays open as long as any process that the import has started.
        with errors.open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", _PROBE, target, kind, str(report), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
                env={**os.environ, **(variables or {})},
            )
        what = f"importing {target}" if target else "asking it what it offers"
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            cause: str | None = f"{what} did not end within {timeout:g} s"
        else:
            said = report.read_text("utf-8") if report.exists() else None
            if said is None:
                cause = f"{what} {_ending(code, errors)}"
            else:
                cause = f"{what} failed: {said}" if said else None
        finally:
            _end(process)
    return _Finding(round(time.perf_counter() - begun, 3), cause)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ending(code: int, errors: Path) -> str:
    """How a process ended that could not report by itself."""
    if code < 0:
        names = {int(one): one.name for one in signal.Signals}
        return f"crashed the interpreter ({names.get(-code, f'signal {-code}')})"
    lines = errors.read_text("utf-8", "replace").strip().splitlines()
    return f"ended the process with exit code {code}{f': {one_line(lines[-1])}' if lines else ''}"
