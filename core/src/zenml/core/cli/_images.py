"""``zenml image build``: the image that remote environments run zenml in."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from zenml.core.cli._output import echo
from zenml.core.errors import ZenMLError
from zenml.core.image import DEFAULT_IMAGE
from zenml.core.image._builders import BUILDERS, build_command, find_builder
from zenml.core.image._builders import build as run_builder
from zenml.core.image._context import dockerfile, write_context
from zenml.core.image._requirements import checked, of_plan, of_plugins, read_lines
from zenml.repo import Repository

__all__ = ["image"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def image() -> None:
    """Build the image that remote environments run zenml in."""


@image.command()
@click.option("--tag", help=f"What it is called; {DEFAULT_IMAGE} by default.")
@click.option("--base", help="The image that it begins with, which has Python.")
@click.option("--plan", "plan_file", help="Install what this plan (.yaml, .py) needs.")
@click.option("--requirement", "-r", "given", multiple=True, help="Install this, too: 'polars>=2'.")
@click.option("--requirements", "file", type=_FILE, help="Install what is in this file, too.")
@click.option("--wheels", type=_FOLDER, help="A folder of wheels that no index has.")
@click.option("--no-index", is_flag=True, help="Install from --wheels and nothing else.")
@click.option("--pip-config", type=_FILE, help="Configuration of pip, as a build secret.")
@click.option("--builder", type=click.Choice(BUILDERS), help="The first that is here by default.")
@click.option("--print", "only_print", is_flag=True, help="Build nothing: print, keep the context.")
@click.argument("options", nargs=-1, metavar="[-- BUILDER_OPTIONS...]")
def build(
    tag: str | None,
    base: str | None,
    plan_file: str | None,
    given: Sequence[str],
    file: Path | None,
    wheels: Path | None,
    no_index: bool,
    pip_config: Path | None,
    builder: str | None,
    only_print: bool,
    options: Sequence[str],
) -> None:
    """Build the image that remote environments run zenml in.

    It holds zenml-core and the plugins that are installed here in their versions, or what --plan
    needs. Those that were built here and are in no index are built again, or are taken from
    --wheels. Your own code is not in it: a run brings its own.
    """
    asked = [("--requirement", text) for text in given]
    requirements = checked([*asked, *(read_lines(file) if file else [])])
    pins = _pins(plan_file)
    arguments = {**({"BASE": base} if base else {}), **({"PIP_NO_INDEX": "1"} if no_index else {})}
    found = builder or find_builder()
    keep = only_print or found is None
    with _folder(keep=keep) as folder:
        command = build_command(
            found or BUILDERS[0],
            folder,
            tag or DEFAULT_IMAGE,
            arguments,
            pip_config=pip_config.absolute() if pip_config else None,
            options=options,
        )
        write_context(folder, pins, requirements, wheels)
        if not keep:
            print(f"$ {shlex.join(command)}", file=sys.stderr)
            run_builder(command)
    if not keep:
        echo(f"built {tag or DEFAULT_IMAGE} with {found}")
        return
    echo(dockerfile().rstrip())
    print(f"the context is {folder}; build it with\n\n  {shlex.join(command)}\n", file=sys.stderr)
    if found is None and not only_print:
        raise ZenMLError(
            "no image was built: nothing that builds images is on PATH",
            remedy=f"run that command where there is one of: {', '.join(BUILDERS)}",
        )


def _pins(plan_file: str | None) -> dict[str, str]:
    repository = Repository.get_instance()
    if plan_file is None:
        return of_plugins(repository.registry)
    from zenml.core.cli._plans import load_plan

    made, chosen = load_plan(plan_file)
    return of_plan(made, repository.registry, repository.open_artifact_store(chosen))


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """A new folder, which goes at the end unless it is to be kept and nothing went wrong."""
    made = Path(tempfile.mkdtemp(prefix="zenml-image-"))
    try:
        yield made
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            shutil.rmtree(made)
