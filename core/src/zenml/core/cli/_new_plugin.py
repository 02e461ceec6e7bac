"""``zenml plugin new``: a distribution with a backend that works and conforms, to make one's own.

The files are in ``_templates``: those of ``common``, and of one or two folders more for each kind.
In their names, ``PACKAGE`` is the import package, ``dot-`` a leading dot, and ``.tmpl`` keeps tools
from taking them for what they become.
"""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, NamedTuple

import click

from zenml.core.cli._output import echo
from zenml.core.errors import ConfigurationError, Problem, ZenMLError
from zenml.core.plugins._entry_points import normalise
from zenml.core.plugins._registry import get_registry, known_offers

if TYPE_CHECKING:
    from importlib.abc import Traversable

__all__ = ["new", "render"]


class _Kind(NamedTuple):
    """What differs from kind to kind.

    Attributes:
        what: The kind in words.
        folders: Of ``_templates``, beside ``common``.
        module: The module that does the work.
        class_name: Its class, with the name of the service in it.
        summary: One sentence, likewise.
        usage: How it is used, as Python.
        words: Further values for the templates; imports are in the order that tools want.
    """

    what: str
    folders: tuple[str, ...]
    module: str
    class_name: str
    summary: str
    usage: str
    words: Mapping[str, str]


_KINDS = {
    "orchestrator": _Kind(
        what="orchestrator",
        folders=("job", "orchestrator"),
        module="backend",
        class_name="Orchestrator{}Backend",
        summary="Runs a pipeline as a job of {}.",
        usage="from {package} import {class_name}\n\npipeline.run({class_name}())",
        words={
            "base": "JobOrchestratorBackend",
            "base_and_state": "JobOrchestratorBackend,\n    JobState,",
            "capabilities": '"attach", "cancel", "detach", "logs", "parallel"',
            "hook": "zenml_orchestrators",
            "suite": "OrchestratorConformance",
        },
    ),
    "processing": _Kind(
        what="processing backend",
        folders=("processing",),
        module="backend",
        class_name="Processing{}Backend",
        summary="Spreads a step's work over workers of {}.",
        usage="from {package} import {class_name}\n\nstep.with_backend({class_name}(workers=4))",
        words={},
    ),
    "training": _Kind(
        what="training backend",
        folders=("job", "training"),
        module="backend",
        class_name="Training{}Backend",
        summary="Trains in a job of {}.",
        usage="from {package} import {class_name}\n\ntrainer.with_backend({class_name}())",
        words={
            "base": "JobTrainingBackend",
            "base_and_state": "JobState,\n    JobTrainingBackend,",
            "capabilities": '"attach", "cancel", "detach", "logs"',
            "hook": "zenml_trainers",
            "suite": "TrainingConformance",
        },
    ),
    "store": _Kind(
        what="artifact store",
        folders=("store",),
        module="store",
        class_name="{}ArtifactStore",
        summary="Keeps artifacts in {}.",
        usage='pipeline.run(artifact_store="{name}:///some/folder")',
        words={},
    ),
}

#: What a distribution may be called, and a type or URL scheme.
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.command("new")
@click.argument("distribution")
@click.option("--kind", type=click.Choice(list(_KINDS)), required=True, help="What it offers.")
@click.option("--name", help="Type or URL scheme; by default, acme for acme-zenml.")
@click.option("--into", default=".", help="The folder to put it in; the present one by default.")
def new(distribution: str, kind: str, name: str | None, into: str) -> None:
    """Write a plugin that works and conforms, to make it your own.

    Makes the folder DISTRIBUTION, an installable distribution with tests.
    """
    made = render(distribution, kind, name=name, into=Path(into))
    path = made if made.is_absolute() else f"{os.curdir}{os.sep}{made}"
    echo(f"made {made}: {_KINDS[kind].what} for zenml, with tests; now:")
    echo(f"\n  pip install -e {shlex.quote(f'{path}[test]')}")
    echo(f"  pytest {shlex.quote(str(made))}")
    echo(f"  {_listing(kind)}")


def render(distribution: str, kind: str, *, name: str | None = None, into: Path) -> Path:
    """Make the folder of a distribution, as a whole or not at all; returns where it is.

    Args:
        distribution: Its name, and that of the folder.
        kind: A key of ``_KINDS``.
        name: The type, or the URL scheme of a store; by default what is left of the distribution's
            name without ``-zenml``.
        into: The folder to put it in.

    Raises:
        ConfigurationError: a name cannot be used, or the folder is taken.
        ZenMLError: it cannot be written.
    """
    name = name if name is not None else normalise(distribution).removesuffix("-zenml")
    target = into / distribution
    problems = [*_wrong_names(distribution, kind, name), *_wrong_place(target)]
    if problems:
        raise ConfigurationError("the plugin cannot be made", problems)
    words = _words(distribution, kind, name)
    try:
        # Beside its place, so that it gets there in one step.
        with tempfile.TemporaryDirectory(prefix=f".{distribution}-", dir=into) as draft:
            made = Path(draft) / distribution
            made.mkdir()
            for folder in ("common", *_KINDS[kind].folders):
                _render(resources.files("zenml.core.cli") / "_templates" / folder, made, words)
            made.replace(target)
    except OSError as error:
        raise ZenMLError(f"the plugin cannot be written: {error}", where=str(target)) from error
    return target


def _words(distribution: str, kind: str, name: str) -> dict[str, str]:
    found = _KINDS[kind]
    title = "".join(part.capitalize() for part in name.split("-"))
    words = {
        **found.words,
        "class_name": found.class_name.format(title),
        "dependencies": ", ".join(f'"{one}"' for one in _dependencies(kind)),
        "distribution": distribution,
        "listing": _listing(kind),
        "module": found.module,
        "name": name,
        "package": _package(distribution),
        "summary": found.summary.format(title),
        "what": found.what,
    }
    return {**words, "usage": found.usage.format(**words)}


def _dependencies(kind: str) -> list[str]:
    # Before 1.0, a minor version of the core may break a promise.
    major, minor = map(int, metadata.version("zenml-core").split(".")[:2])
    core = f">={major}.{minor},<{major + 1}" if major else f">=0.{minor},<0.{minor + 1}"
    # What is not sent elsewhere runs on the defaults, without which a backend is of little use.
    defaults = {
        row["distribution"]
        for row in known_offers()
        if (row["kind"], row["type"]) == (kind, "local")
    }
    return [f"zenml-core{core}", *sorted(defaults)]


def _listing(kind: str) -> str:
    return f"zenml {'plugin' if kind == 'store' else 'backend'} list"


def _package(distribution: str) -> str:
    return normalise(distribution).replace("-", "_")


def _render(folder: Traversable, into: Path, words: Mapping[str, str]) -> None:
    for found in folder.iterdir():
        name = re.sub("^dot-", ".", found.name.replace("PACKAGE", words["package"]))
        if found.is_dir():
            (into / name).mkdir(exist_ok=True)
            _render(found, into / name, words)
        elif name.endswith(".tmpl"):
            text = Template(found.read_text(encoding="utf-8")).substitute(words)
            (into / name.removesuffix(".tmpl")).write_text(text, encoding="utf-8")


# -- what cannot be made ---------------------------------------------------------------------------


def _wrong_names(distribution: str, kind: str, name: str) -> Iterator[Problem]:
    package = _package(distribution)
    if not _DISTRIBUTION.fullmatch(distribution):
        remedy = "letters, digits and, between them, '-', '_' and '.': acme-zenml"
        yield Problem("DISTRIBUTION", f"{distribution!r} is no name of a distribution", remedy)
        return
    if package == "zenml" or package.startswith("zenml_"):
        own = package.removeprefix("zenml").strip("_").replace("_", "-") or "acme"
        message = f"{distribution!r} would look like a part of zenml, whose names are its own"
        yield Problem("DISTRIBUTION", message, f"give it a name of yours, such as {own}-zenml")
    elif not package.isidentifier() or keyword.iskeyword(package):
        message = f"its package would be {package!r}, which Python cannot import"
        yield Problem("DISTRIBUTION", message, f"begin with a letter: acme-{distribution}")
    elif _is_taken(distribution, package):
        message = f"there is a package {package!r} already, which one of that name would hide"
        yield Problem("DISTRIBUTION", message, f"{distribution}-zenml would not")
    if not _NAME.fullmatch(name):
        message = f"{name!r} is no {'URL scheme' if kind == 'store' else 'type'} for a plugin"
        yield Problem("--name", message, "lower-case letters, digits and '-', such as 'acme'")
    elif owner := _owner(distribution, kind, name):
        message = f"{owner} offers {name!r} as {_KINDS[kind].what} already"
        yield Problem("--name", message, "choose another")


def _is_taken(distribution: str, package: str) -> bool:
    if package in sys.stdlib_module_names:
        return True
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return False  # it is this very plugin, installed before


def _owner(distribution: str, kind: str, name: str) -> str | None:
    rows = [(row["kind"], row["type"], row["distribution"]) for row in known_offers()]
    rows += [(one.kind, one.name, one.plugin.distribution) for one in get_registry().offers]
    for row_kind, row_name, owner in rows:
        if (row_kind, row_name) == (kind, name) and normalise(owner) != normalise(distribution):
            return owner
    return None


def _wrong_place(target: Path) -> Iterator[Problem]:
    if not target.parent.is_dir():
        yield Problem("--into", f"there is no folder {target.parent}", "make it first")
    elif os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        message = f"{target} is there already, and not an empty folder"
        yield Problem("DISTRIBUTION", message, "take another name, or move it away")
