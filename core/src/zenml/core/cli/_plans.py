"""``zenml plan``, ``zenml run …`` and ``zenml explain``."""

from __future__ import annotations

import runpy
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from zenml.core.cli._output import ago, echo, echo_json, table
from zenml.core.contracts import ArtifactStore
from zenml.core.engine._explain import Previous, difference, preview
from zenml.core.engine._launch import launch
from zenml.core.engine._run import Run
from zenml.core.engine._steps import StepRunner
from zenml.core.errors import PlanError, Problem, RunError, SourceError
from zenml.core.plan import Plan
from zenml.core.plan._sources import roots_of
from zenml.core.sources import run_until_pipeline
from zenml.metadata import MetadataStore
from zenml.repo import Repository

__all__ = ["explain", "plan", "run"]

_STORE = click.option("--store", "store_url", help="Artifact store; the repository's by default.")


_ARGUMENTS = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)


def _load(file: str, arguments: Sequence[str] = ()) -> tuple[Plan, Any]:
    """The plan in a file, and the artifact store that a script chose, if it did."""
    path = Path(file)
    if not path.is_file():
        raise PlanError(f"{file} cannot be planned", [Problem(file, "there is no such file")])
    if path.suffix in (".yaml", ".yml", ".json"):
        return Plan.from_yaml(_text(path), file), None
    if path.suffix != ".py":
        problem = Problem(file, "expected a script (.py) or a plan (.yaml, .json)")
        raise PlanError(f"{file} cannot be planned", [problem])
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
        raise PlanError(f"{path} is not a plan that can be used", [problem]) from error


@click.command()
@click.argument("file")
@_ARGUMENTS
@_STORE
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the plan itself.")
@click.option("--diff", "other", metavar="FILE", help="Print where FILE's plan differs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def plan(
    file: str,
    arguments: Sequence[str],
    store_url: str | None,
    as_yaml: bool,
    other: str | None,
    as_json: bool,
) -> None:
    """Show what a pipeline would do: step, backend, cached or not, and why. Runs nothing.

    FILE is a plan (.yaml) or a script (.py), which is executed, with the ARGUMENTS, up to the line
    that would run its pipeline.
    """
    made, chosen = _load(file, arguments)
    if as_yaml:
        echo(made.to_yaml().rstrip())
        return
    if other is not None:
        for found in made.diff(_load(other)[0]):
            echo(str(found))
        return
    repository = Repository.get_instance()
    store = repository.open_artifact_store(store_url or chosen)
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


_WILL = {"cached": "be cached", "run": "run", "unknown": "wait"}


def _runner(made: Plan, store: ArtifactStore, repository: Repository) -> StepRunner:
    return StepRunner(
        run_id="preview",
        store=store,
        registry=repository.registry,
        roots=roots_of(made),
        cancel=threading.Event(),
    )


def _previous(index: MetadataStore, store: ArtifactStore, before: str | None = None) -> Any:
    def find(pipeline: str, step: str) -> Previous | None:
        found = index.last_step(store, pipeline, step, before=before)
        if found is None:
            return None
        text = store.read(f"plans/{found.plan}.json")
        return Previous(found.run, msgspec.json.decode(text, type=Plan), found.record)

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


@run.command("file", hidden=True)
@click.argument("file")
@_ARGUMENTS
@_STORE
@click.option("--quiet", is_flag=True, help="Show no progress.")
def run_file(file: str, arguments: Sequence[str], store_url: str | None, quiet: bool) -> None:
    """Run FILE: a plan (.yaml), or a script (.py) as 'python FILE ARGUMENTS' would."""
    if Path(file).suffix == ".py" and Path(file).is_file():
        sys.argv = [file, *arguments]
        sys.path.insert(0, str(Path(file).resolve().parent))
        runpy.run_path(file, run_name="__main__")
        return
    made, _ = _load(file)
    made.check_sources()
    repository = Repository.get_instance()
    store = repository.open_artifact_store(store_url)
    index = repository.metadata_store
    done = launch(made, registry=repository.registry, store=store, index=index, progress=not quiet)
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
    found = _find_run(run_id, store)
    steps = found.steps
    if as_json:
        echo_json(
            {
                "run": found.started,
                "status": found.status,
                "outcome": found.outcome,
                "steps": list(steps.values()),
            }
        )
        return
    started, outcome = found.started, found.outcome
    echo(f"run {found.id} of pipeline '{started.pipeline}': {found.status}")
    echo(f"plan {started.plan[:12]}, orchestrator {started.orchestrator}, {ago(started.started)}")
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


def _find_run(text: str, store: ArtifactStore) -> Run:
    """The run whose id begins (or ends) so; ``last`` is the latest."""
    from zenml.core.engine._records import run_ids

    ids = list(run_ids(store))
    matching = (
        ids[-1:] if text == "last" else [i for i in ids if i.startswith(text) or i.endswith(text)]
    )
    if text in ids:
        matching = [text]
    if len(matching) == 1:
        return Run(matching[0], store)
    what = "several runs match" if matching else "there is no run"
    raise RunError(f"{what} '{text}'", where=store.url, remedy="'zenml run list' shows the runs")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@_STORE
def explain(run_id: str, step: str, store_url: str | None) -> None:
    """Say why a STEP of a RUN was served from the cache or not. RUN may be shortened or 'last'."""
    repository = Repository.get_instance()
    store = repository.open_artifact_store(store_url)
    found = _find_run(run_id, store)
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
