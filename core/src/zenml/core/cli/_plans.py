"""``zenml plan``, ``zenml run …`` and ``zenml explain``."""

from __future__ import annotations

import os
import runpy
import shlex
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import click
import msgspec

from zenml.core._backends import DEFAULT_TYPE
from zenml.core.cli._jobs import COMMANDS
from zenml.core.cli._output import ago, echo, echo_json, table
from zenml.core.contracts import ArtifactStore
from zenml.core.engine._as_job import say
from zenml.core.engine._explain import Previous, difference, preview
from zenml.core.engine._launch import launch, prepare
from zenml.core.engine._lookup import find_run
from zenml.core.engine._records import read_plan
from zenml.core.engine._run import Run
from zenml.core.engine._steps import StepRunner
from zenml.core.errors import (
    PlanError,
    Problem,
    RunError,
    SourceError,
    StoreError,
    ZenMLError,
)
from zenml.core.plan import Plan
from zenml.core.plan._usable import check_usable
from zenml.core.sources import run_until_pipeline
from zenml.metadata import MetadataStore
from zenml.repo import Repository

__all__ = ["explain", "load_plan", "plan", "run"]

_STORE = click.option("--store", "store_url", help="Artifact store; the repository's by default.")


_ARGUMENTS = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)

#: What is no option of ours is one of the script's.
_SCRIPT = {"ignore_unknown_options": True}


def load_plan(file: str, arguments: Sequence[str] = ()) -> tuple[Plan, Any]:
    """The plan in a file, and the artifact store that a script chose, if it did."""
    path = Path(file)
    if not os.path.isfile(path):  # also for a name that is too long to exist
        raise PlanError(f"{file} cannot be planned", [Problem(file, "there is no such file")])
    if path.suffix in (".yaml", ".yml", ".json"):
        if arguments:
            raise click.UsageError(f"a plan takes no arguments: {' '.join(arguments)}")
        return Plan.from_yaml(_text(path), file), None
    if path.suffix != ".py":
        problem = Problem(file, "expected a script (.py) or a plan (.yaml, .json)")
        raise PlanError(f"{file} cannot be planned", [problem])
    # Our standard output is the plan; what the script prints must not get into it.
    with redirect_stdout(sys.stderr), _errors_of(file):
        wanted = run_until_pipeline(file, arguments)
    if wanted is None:
        raise SourceError(
            "the script came to its end without running or building a pipeline",
            where=file,
            remedy="call pipeline.run() in it; 'zenml plan' stops there and runs nothing",
        )
    pipeline, options = wanted
    chosen = options.get("artifact_store") or pipeline.artifact_store
    return pipeline.build(**options), chosen


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problem = Problem(f"byte {error.start}", "is not UTF-8")
    except OSError as error:
        problem = Problem(str(path), str(error.strerror))
    raise PlanError(f"{path} is not a plan that can be used", [problem])


@contextmanager
def _errors_of(file: str) -> Iterator[None]:
    """Show what a script raises as Python would, without our frames, and on one screen."""
    try:
        yield
    except (ZenMLError, click.ClickException, BrokenPipeError):
        raise
    except Exception as error:
        frames = error.__traceback__
        while frames is not None and not _is_same(frames.tb_frame.f_code.co_filename, file):
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames)).splitlines()
        if len(text) > _SCREEN:
            text = [text[0], "  …", *text[2 - _SCREEN :]]
        print("\n".join(text), file=sys.stderr)
        raise SystemExit(1) from error


#: Lines that an error may take.
_SCREEN = 24


def _is_same(path: str, other: str) -> bool:
    return os.path.abspath(path) == os.path.abspath(other)


@click.command(context_settings=_SCRIPT)
@click.argument("file")
@_ARGUMENTS
@_STORE
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the plan itself.")
@click.option("--diff", "other", metavar="FILE", help="Print where FILE's plan differs.")
@click.option("--render", is_flag=True, help="Prepare a run, and print what its job is sent as.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def plan(
    file: str,
    arguments: Sequence[str],
    store_url: str | None,
    as_yaml: bool,
    other: str | None,
    render: bool,
    as_json: bool,
) -> None:
    """Show what a pipeline would do: step, backend, cached or not, and why. Runs nothing.

    FILE is a plan (.yaml) or a script (.py), which is executed, with the ARGUMENTS, up to the line
    that would run its pipeline. Nothing is written, but with --render: that stores what a new run
    needs, and its job can be started from what is printed.
    """
    if render and (as_yaml or as_json or other is not None):
        raise click.UsageError("--render prints another thing than --yaml, --diff and --json")
    made, chosen = load_plan(file, arguments)
    if as_yaml:
        echo(made.to_yaml().rstrip())
        return
    if other is not None:
        for found in made.diff(load_plan(other)[0]):
            echo(str(found))
        return
    repository = Repository.get_instance()
    if Path(file).suffix != ".py":
        _check(made, file, repository)
    store = repository.open_artifact_store(store_url or chosen)
    if render:
        _render(made, repository, store, named=bool(store_url or chosen))
        return
    index = repository.metadata_store
    rows = list(preview(made, _runner(made, store, repository), _previous(index, store)))
    if as_json:
        echo_json([row._asdict() for row in rows])
        return
    echo(f"plan {made.digest[:12]} of {made.kind} pipeline '{made.pipeline}'")
    echo(f"orchestrator: {made.orchestrator.type}")
    echo()
    table(
        ("step", "backend", "will", "why"),
        [
            (r.name, f"{made.steps[r.name].kind}:{r.backend}", _WILL[r.status], r.reason)
            for r in rows
        ],
        empty="no steps",
    )
    counts = {status: sum(row.status == status for row in rows) for status in _WILL}
    echo(f"\n{counts['cached']} cached, {counts['run']} to run, {counts['unknown']} open")


def _render(made: Plan, repository: Repository, store: ArtifactStore, *, named: bool) -> None:
    """Prepare a run; print what its job is sent as, and on standard error how to follow it."""
    from zenml.core._yaml import dump_yaml_documents

    made.check_sources()
    # What a backend prints must not get into the specification.
    with redirect_stdout(sys.stderr):
        prepared = prepare(made, registry=repository.registry, store=store)
    spec = msgspec.to_builtins(prepared.spec, str_keys=True)
    text = dump_yaml_documents(spec if isinstance(spec, list) else [spec])
    follow = ["zenml", "run", "wait", prepared.run, *(("--store", store.url) if named else ())]
    say(f"prepared run {prepared.run} of pipeline '{made.pipeline}' in {store.url}")
    for name, step in made.steps.items():
        if step.backend.type != DEFAULT_TYPE:
            where = f"{step.kind} backend '{step.backend.type}'"
            say(f"  not in it: what step '{name}' will ask of {where}, known when its inputs are")
    say(f"  {shlex.join(follow)} sees it through, and starts it if nobody has")
    echo(text.rstrip())


def _check(made: Plan, file: str, repository: Repository) -> None:
    """See that a plan from a file can be used here, which imports the scripts that it is of."""
    sys.argv = [file]  # they must not take our arguments for theirs
    with redirect_stdout(sys.stderr):
        check_usable(made, repository.registry)


_WILL = {"cached": "be cached", "run": "run", "unknown": "wait"}


def _runner(made: Plan, store: ArtifactStore, repository: Repository) -> StepRunner:
    return StepRunner(
        plan=made,
        run_id="preview",
        store=store,
        registry=repository.registry,
        cancel=threading.Event(),
    )


def _previous(index: MetadataStore, store: ArtifactStore, before: str | None = None) -> Any:
    def find(pipeline: str, step: str) -> Previous | None:
        found = index.last_step(store, pipeline, step, before=before)
        if found is None:
            return None
        return Previous(found.run, read_plan(store, found.plan), found.record)

    return find


class _RunGroup(click.Group):
    """``zenml run list`` is a command; ``zenml run train.py`` runs a file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["file", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RunGroup)
def run() -> None:
    """Run a script or a plan (zenml run FILE); list and show runs."""


for command in COMMANDS:
    run.add_command(command)


@run.command("file", hidden=True, context_settings=_SCRIPT)
@click.argument("file")
@_ARGUMENTS
@_STORE
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--detach", is_flag=True, help="Start the run and leave it; for plans.")
def run_file(
    file: str, arguments: Sequence[str], store_url: str | None, quiet: bool, detach: bool
) -> None:
    """Run FILE: a plan (.yaml), or a script (.py) as 'python FILE ARGUMENTS' would."""
    if Path(file).suffix == ".py" and Path(file).is_file():
        for option, given, instead in (
            ("--store", store_url is not None, "artifact_store=…"),
            ("--detach", detach, "detach=True"),
        ):
            if given:
                raise click.UsageError(
                    f"{option} is for plans; a script says it itself: pipeline.run({instead})"
                )
        sys.argv = [file, *arguments]
        sys.path.insert(0, str(Path(file).resolve().parent))
        with _errors_of(file):
            runpy.run_path(file, run_name="__main__")
        return
    made, _ = load_plan(file, arguments)
    repository = Repository.get_instance()
    _check(made, file, repository)
    made.check_sources()
    store = repository.open_artifact_store(store_url)
    index = repository.metadata_store
    done = launch(
        made,
        registry=repository.registry,
        store=store,
        index=index,
        progress=not quiet,
        detach=detach,
    )
    if detach:
        echo(f"run {done.id} goes on; zenml run attach {done.id}")
        return
    counts = done.outcome.counts if done.outcome else {}
    listed = ", ".join(f"{count} {status}" for status, count in counts.items())
    echo(f"run {done.id} succeeded: {listed}")


@run.command("list")
@_STORE
@click.option("--pipeline", help="Only runs of this pipeline.")
@click.option("--limit", default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_runs(store_url: str | None, pipeline: str | None, limit: int, as_json: bool) -> None:
    """List the latest runs, newest first."""
    repository = Repository.get_instance()
    store = repository.open_artifact_store(store_url)
    index = repository.metadata_store
    store.prepare()
    index.ingest(store)
    rows = index.runs(store, pipeline=pipeline, limit=limit)
    if as_json:
        echo_json(rows)
        return
    table(
        ("run", "pipeline", "status", "steps", "cached", "started", "took"),
        [
            (
                r.run,
                r.pipeline,
                r.status,
                str(r.steps),
                str(r.cached),
                ago(r.started),
                f"{r.seconds:.2f} s",
            )
            for r in rows
        ],
        empty="no run yet",
    )


@run.command()
@click.argument("run_id", metavar="RUN")
@_STORE
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def show(run_id: str, store_url: str | None, as_json: bool) -> None:
    """Show one run: how its steps ended and what they made. RUN may be shortened, or 'last'."""
    store = Repository.get_instance().open_artifact_store(store_url)
    found = find_run(run_id, store)
    steps = found.steps
    if as_json:
        echo_json(
            {
                "run": found.started,
                "status": found.status,
                "code": _code(found),
                "outcome": found.outcome,
                "steps": list(steps.values()),
            }
        )
        return
    started, outcome = found.started, found.outcome
    echo(f"run {found.id} of pipeline '{started.pipeline}': {found.status}")
    echo(f"plan {started.plan[:12]}, orchestrator {started.orchestrator}, {ago(started.started)}")
    code = _code(found)
    if code["bundle"]:
        echo(f"code {code['bundle'][:12]}")
    if code["commit"]:
        echo(f"commit {code['commit'][:12]}{' with changes' if code['dirty'] else ''}")
    if started.resumes:
        echo(f"resumes run {started.resumes}")
    if outcome is not None:
        echo(f"took {outcome.seconds:.2f} s")
    echo()
    table(
        ("step", "status", "took", "outputs"),
        [
            (
                name,
                record.status,
                f"{record.seconds:.3f} s",
                " ".join(f"{output}={digest[:12]}" for output, digest in record.outputs.items()),
            )
            for name, record in steps.items()
        ],
        empty="no step has begun",
    )
    for name, record in steps.items():
        if record.failure is not None:
            echo(f"\n{name}: {record.failure.cause}: {record.failure.type}")
            for line in (record.failure.traceback + record.failure.message).rstrip().splitlines():
                echo(f"  {line}")


def _code(found: Run) -> dict[str, Any]:
    """The code that a run used: what its jobs were sent, or else what its plan was made from."""
    sent, git = found.code, None
    if sent is not None:
        git = sent.git
    else:
        with suppress(StoreError):  # a damaged plan hides no run
            git = found.plan.git
    return {
        "bundle": sent.digest if sent is not None else None,
        "commit": git.commit if git is not None else None,
        "dirty": git.dirty if git is not None else None,
    }


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@_STORE
def explain(run_id: str, step: str, store_url: str | None) -> None:
    """Say why a STEP of a RUN was served from the cache or not. RUN may be shortened or 'last'."""
    repository = Repository.get_instance()
    store = repository.open_artifact_store(store_url)
    found = find_run(run_id, store)
    steps = found.steps
    if step not in steps:
        raise RunError(f"run {found.id} has no step '{step}'", remedy=f"it has: {', '.join(steps)}")
    record, made = steps[step], found.plan
    if record.status == "cached":
        echo(f"{step} was served from the cache: run {record.made_by} made the same")
        echo(f"  key {record.key}: its code, parameters and inputs are the same")
        return
    if record.status not in ("succeeded", "failed", "running"):
        echo(f"{step} was {record.status}")
        return
    index = repository.metadata_store
    index.ingest(store)
    before = _previous(index, store, found.id)(made.pipeline, step)
    if not made.steps[step].cache:
        why = "caching is off for this pipeline"
    elif before is None:
        why = "no earlier run of this pipeline has it"
    else:
        why = difference(before, made, made.steps[step], record.inputs, record.fingerprint)
    echo(f"{step} was not served from the cache: {why}")
    if record.key:
        echo(f"  key {record.key}")
