"""``zenml doctor``: imports every backend in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Literal

import click
import msgspec

from zenml.core.cli._output import echo, echo_json, table
from zenml.core.plugins import BackendInfo, FormatSpec, StoreSpec
from zenml.repo import Repository

__all__ = ["doctor"]

#: Seconds after which an import is held to hang.
TIMEOUT = 60.0

_PROBE = """
import importlib, os, sys
module, _, name = sys.argv[1].partition(":")
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
found = getattr(importlib.import_module(module), name)
print("loaded", found.__name__, file=out)
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
    rows = [_diagnose(row, timeout) for row in repository.registry.backends()]
    rows += [
        _probe(offer.kind, offer.name, offer.plugin.distribution, offer.spec.target, timeout)
        for offer in repository.registry.offers
        if isinstance(offer.spec, (StoreSpec, FormatSpec)) and offer.status == "available"
    ]
    rows += [
        Diagnosis(
            kind="namespace",
            name=plugin.name,
            distribution=plugin.distribution,
            ok=False,
            cause=plugin.cause,
            remedy=plugin.remedy,
        )
        for plugin in repository.registry.plugins
        if plugin.module.endswith("__init__.py")
    ]
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


def _diagnose(row: BackendInfo, timeout: float) -> Diagnosis:
    distribution = row.distribution or ""
    if row.status != "available" or row.target is None:
        # A plugin that somebody disabled on purpose is not ill.
        well: Literal[True, False] = row.status == "disabled"
        return Diagnosis(
            kind=row.kind,
            name=row.name,
            distribution=distribution,
            ok=well,
            cause=row.cause,
            remedy=row.remedy,
        )
    return _probe(row.kind, row.name, distribution, row.target, timeout)


def _probe(kind: str, name: str, distribution: str, target: str, timeout: float) -> Diagnosis:
    begun = time.perf_counter()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _PROBE, target],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        cause: str | None = f"importing {target} did not end within {timeout:.0f} s"
    else:
        cause = None if done.stdout.startswith("loaded ") else _reason(target, done)
    return Diagnosis(
        kind=kind,
        name=name,
        distribution=distribution,
        ok=cause is None,
        seconds=round(time.perf_counter() - begun, 3),
        cause=cause,
        remedy=None
        if cause is None
        else f"pip install --force-reinstall {distribution}, or report it to its authors, or "
        f"set ZENML_DISABLE_PLUGINS={distribution}",
    )


def _reason(target: str, done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return (
            f"importing {target} crashed the interpreter ({signal.Signals(-done.returncode).name})"
        )
    lines = done.stderr.strip().splitlines()
    last = lines[-1] if lines else f"it ended the process with exit code {done.returncode}"
    return f"importing {target} failed: {last}"
