"""``zenml backend …`` and ``zenml plugin …``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from zenml.core.cli._conformance import conformance
from zenml.core.cli._new_plugin import new
from zenml.core.cli._output import echo, echo_json, one_line, table
from zenml.core.contracts._backend import Backend, BackendKind, Check
from zenml.core.errors import (
    BackendError,
    BackendNotFoundError,
    BackendUnavailableError,
    ConfigurationError,
    Problem,
)
from zenml.core.plugins import BackendInfo
from zenml.core.plugins._registry import in_words
from zenml.repo import Repository

__all__ = ["backend", "plugin"]


@click.group()
def backend() -> None:
    """List, describe, connect and check backends."""


@backend.command("list")
@click.option("--kind", type=click.Choice(["orchestrator", "processing", "training"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_backends(kind: str | None, as_json: bool) -> None:
    """List every backend that is installed or connected. Imports none of them."""
    rows = Repository.get_instance().get_backends(kind)
    if as_json:
        echo_json(rows)
        return
    table(
        ("kind", "name", "status", "distribution", "summary"),
        [
            (
                row.kind,
                row.name,
                row.status,
                _origin(row),
                "" if row.cause else one_line(row.summary),
            )
            for row in rows
        ],
        empty="no backend is installed; pip install zenml-local gives the defaults",
    )
    for row in rows:
        if row.cause:
            echo(f"\n{row.kind} {row.name}: {row.status}")
            echo(f"  cause: {row.cause}")
            echo(f"  what to do: {row.remedy}")


def _origin(row: BackendInfo) -> str:
    return f"{row.distribution} {row.version}".strip() if row.distribution else "not installed"


def _find(name: str, kind: str | None) -> BackendInfo:
    repository = Repository.get_instance()
    rows = repository.get_backends(kind)
    installed = repository.registry.backends(kind)
    # As in a pipeline: what the repository has connected comes first.
    found = [row for row in rows if row.name == name and row not in installed]
    found = found or [
        row for row in installed if name in (row.name, f"{row.distribution}:{row.type}")
    ]
    if not found:
        remedy = repository.registry.how_to_get(kind, name)
        raise BackendNotFoundError(f"there is no backend '{name}'", remedy=remedy)
    if len({row.kind for row in found}) > 1:
        kinds = " or ".join(sorted({f"--kind {row.kind}" for row in found}))
        raise BackendError(f"several backends are named '{name}'", remedy=f"add {kinds}")
    if len(found) > 1:
        raise BackendUnavailableError(
            f"'{name}' cannot be used: {found[0].cause}", remedy=found[0].remedy
        )
    [row] = found
    if ":" in name and row.status == "conflict":
        # Naming the distribution is what settles it.
        row = repository.registry.row(repository.registry.find(row.kind, name))
        return msgspec.structs.replace(row, status="available", cause=None, remedy=None)
    return row


_KIND = click.option("--kind", type=click.Choice(["orchestrator", "processing", "training"]))
_PARAMETERS = click.argument("parameters", nargs=-1, metavar="[PARAMETER=VALUE]...")


@backend.command()
@click.argument("name")
@_KIND
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def describe(name: str, kind: str | None, as_json: bool) -> None:
    """Describe one backend: where it comes from, what it can do, its parameters."""
    row = _find(name, kind)
    # What a plugin prints while it is imported is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        cls: type[Backend] | None = row.load() if row.usable else None
    fields = cls.fields() if cls else {}
    if as_json:
        parameters = [
            {
                "name": f.name,
                "type": f.type_name,
                "required": f.required,
                "default": repr(f.default),
            }
            for f in fields.values()
        ]
        echo_json({"backend": row, "parameters": parameters})
        return
    echo(f"{row.kind} {row.name} ({row.status})")
    echo(f"  from: {_origin(row)}, {row.target}")
    echo(f"  can: {', '.join(row.capabilities) or 'nothing special'}")
    if row.cause:
        echo(f"  cause: {row.cause}\n  what to do: {row.remedy}")
    doc = (cls.__doc__ or row.summary).strip() if cls else row.summary
    echo("\n" + "\n".join(f"  {line.strip()}" for line in doc.splitlines()) + "\n")
    rows = [
        (f.name, f.type_name, "required" if f.required else repr(f.default))
        for f in fields.values()
    ]
    table(("parameter", "type", "default"), rows, empty="  it has no parameters")


@backend.command()
@click.argument("name")
@click.argument("type_name", metavar="TYPE")
@_PARAMETERS
@_KIND
def connect(name: str, type_name: str, parameters: Sequence[str], kind: str | None) -> None:
    """Remember a configured backend as NAME in this repository.

    Values are YAML: workers=4, labels='{team: vision}'. Secrets are given by reference only:
    env:NAME or file:PATH.
    """
    repository = Repository.get_instance()
    row = _find(type_name, kind)
    made: Backend = row.load()(**_parse(parameters))
    repository.connect_backend(name, made)
    echo(f"connected {row.kind} '{name}': {made!r}")


def _parse(parameters: Sequence[str]) -> dict[str, Any]:
    from zenml.core._yaml import load_yaml

    values: dict[str, Any] = {}
    problems = []
    for item in parameters:
        key, separator, text = item.partition("=")
        if not separator or not key:
            problems.append(Problem(key or item, "expected PARAMETER=VALUE"))
        elif key in values:
            problems.append(Problem(key, "is given twice"))
        else:
            values[key] = load_yaml(text, key) if text else ""
    if problems:
        raise ConfigurationError("the backend cannot be made", problems)
    return values


@backend.command()
@click.argument("name")
def disconnect(name: str) -> None:
    """Forget the connected backend NAME."""
    Repository.get_instance().disconnect_backend(name)
    echo(f"disconnected '{name}'")


def _make(row: BackendInfo, parameters: Sequence[str]) -> Backend:
    """The backend of a row; one that is connected, with some of its parameters changed."""
    given = _parse(parameters)
    # What a plugin prints while it is imported is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        if row.status == "connected":
            connected: Backend = Repository.get_instance().get_backend(row.name)
            return connected.replace(**given) if given else connected
        made: Backend = row.load()(**given)
        return made


@backend.command()
@click.argument("name")
@_PARAMETERS
@_KIND
def check(name: str, parameters: Sequence[str], kind: BackendKind | None) -> None:
    """Look whether a backend could work now: credentials, permissions, reachability.

    NAME is a type that is installed, or a connected backend; PARAMETER=VALUE as for 'connect'.
    """
    row = _find(name, kind)
    made = _make(row, parameters)
    echo(f"ok      {row.kind} {row.name}: {row.target} can be imported and made")
    try:
        checks = [Check(*item) for item in made.check()]
    except Exception as error:  # noqa: BLE001 - the plugin's own code
        remedy = f"report it to the authors of {row.distribution}"
        checks = [Check("the backend's own check", ok=False, detail=in_words(error), remedy=remedy)]
    for item in checks:
        detail = f": {item.detail}" if item.detail else ""
        echo(f"{'ok' if item.ok else 'FAILED':<7} {item.name}{detail}")
        if not item.ok and item.remedy:
            echo(f"        what to do: {item.remedy}")
    if not all(item.ok for item in checks):
        raise SystemExit(1)


@backend.command()
@click.argument("name")
@_PARAMETERS
@_KIND
def permissions(name: str, parameters: Sequence[str], kind: BackendKind | None) -> None:
    """Print what whoever uses a backend must be allowed to do, for its administrator.

    It is in the service's own format, such as a Role for Kubernetes. Asks no service. NAME is a
    type that is installed, or a connected backend; PARAMETER=VALUE as for 'connect'.
    """
    row = _find(name, kind)
    made = _make(row, parameters)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            needed = made.permissions()
    except Exception as error:
        raise BackendError(
            f"{row.kind} backend '{row.name}' cannot say what it needs: {in_words(error)}",
            remedy=f"report it to the authors of {row.distribution}",
        ) from error
    if needed.strip():
        echo(needed.rstrip())
    else:
        nothing = "needs no permissions, or none that it knows of"
        print(f"{row.kind} backend '{row.name}' {nothing}", file=sys.stderr)


@click.group()
def plugin() -> None:
    """List plugins, begin one, and see what is known of how they conform."""


@plugin.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_plugins(as_json: bool) -> None:
    """List every installed plugin, usable or not, and what it offers."""
    rows = Repository.get_instance().registry.plugins
    if as_json:
        echo_json(rows)
        return
    table(
        ("distribution", "version", "plugin", "status", "offers"),
        [(r.distribution, r.version, r.name, r.status, " ".join(r.offers)) for r in rows],
        empty="no plugin is installed",
    )
    for row in rows:
        if row.cause:
            echo(f"\n{row.distribution}:{row.name}: {row.status}")
            echo(f"  cause: {row.cause}\n  what to do: {row.remedy}")


plugin.add_command(conformance)
plugin.add_command(new)
