"""Shipping code: from the repository into the store, once, and only where somebody asks for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zenml.core import ArtifactStore, MapContext, ProcessingBackend, Step, ship_code
from zenml.core.bundle import unpack
from zenml.core.engine._gc import find_garbage
from zenml.core.errors import ConfigurationError, SourceChangedError, StepFailedError
from zenml.pipelines import Pipeline

USER = """
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
from helper import FACTOR
from zenml.core import OrchestratorBackend, ProcessingBackend, execute_unit, ship_code
from zenml.pipelines import StepContext, step

WORKER = '''
import json, sys
import msgspec
from zenml.core import MapContext, Unit, execute_unit
told = json.load(sys.stdin)
units = msgspec.convert(told["units"], list[Unit])
context = msgspec.convert(told["context"], MapContext)
print(json.dumps([execute_unit(unit, context) for unit in units]))
'''

contexts = []


class Here(OrchestratorBackend):
    def run(self, work):
        work.execute_here()


class InOrder(ProcessingBackend):
    def map(self, units, context):
        for index, unit in enumerate(units):
            yield index, execute_unit(unit, context)


class Elsewhere(ProcessingBackend):
    # Executes units in a process that has neither our folder nor our path.

    cache: str
    edits: str = ""

    def map(self, units, context):
        contexts.append(context)
        if self.edits:
            Path("helper.py").write_text(self.edits)
        told = {"units": units, "context": ship_code(context)}
        done = subprocess.run(
            [sys.executable, "-c", WORKER],
            input=json.dumps(msgspec.to_builtins(told)),
            cwd="/",
            env={**os.environ, "XDG_CACHE_HOME": self.cache},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        yield from enumerate(json.loads(done.stdout))


def multiply(payload, files):
    here = Path(__file__).parent
    return [payload * FACTOR, here.name, (here / "data.txt").read_text()]


def fail_at_two(payload, files):
    if payload == 2:
        raise ValueError("two")
    return payload


@step
def spread(context: StepContext, payloads: list[int]):
    return context.map(multiply, payloads)


@step
def given(context: StepContext, imports: list[str]):
    return context.map(multiply, [1], imports=imports)


@step
def stopping(context: StepContext, payloads: list[int]):
    return context.map(fail_at_two, payloads)
"""


@pytest.fixture
def user(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The user's module, in the repository."""
    monkeypatch.syspath_prepend(str(project))
    (project / "shipping_user.py").write_text(USER)
    (project / "helper.py").write_text("import msgspec\n\nFACTOR = 10\n")
    (project / "data.txt").write_text("data")
    import shipping_user  # type: ignore[import-not-found]

    yield shipping_user
    for name in ("shipping_user", "helper"):
        sys.modules.pop(name, None)


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def run_one(user: Any) -> Callable[..., Any]:
    """Runs one step on a backend."""

    def call(made: Step, backend: ProcessingBackend) -> Any:
        pipeline = Pipeline("tested", backends=[user.Here(), backend])
        pipeline.add_step(made, name="only")
        return pipeline.run()

    return call


@pytest.fixture
def context(project: Path, store: ArtifactStore) -> MapContext:
    store.prepare()
    (project / "src").mkdir()
    (project / "src" / "user.py").write_text("answer = 42\n")
    return MapContext(
        store=store.url, scope="units/key", step="tested", import_roots=(str(project / "src"),)
    )


def garbage(store: ArtifactStore) -> set[str]:
    return {found.key for found in find_garbage(store, grace=timedelta(0))}


def bundles(store: ArtifactStore) -> list[str]:
    return [found.key for found in store.list("code/")]


class TestInARun:
    def test_workers_have_the_users_code_and_the_files_beside_it(
        self, user: Any, run_one: Any, cache: str, store: ArtifactStore
    ) -> None:
        run = run_one(user.spread(payloads=[1, 2]), user.Elsewhere(cache=cache))

        [code] = [key.removeprefix("code/").removesuffix(".tar.gz") for key in bundles(store)]
        assert run.load("only") == [[10, code, "data"], [20, code, "data"]]

    def test_a_backend_that_does_not_ask_for_it_causes_no_bundle(
        self, user: Any, run_one: Any, store: ArtifactStore, project: Path
    ) -> None:
        run = run_one(user.spread(payloads=[1]), user.InOrder())

        assert run.load("only") == [[10, project.name, "data"]]
        assert bundles(store) == []

    def test_code_that_is_edited_while_the_run_goes_on_is_not_shipped_under_the_old_key(
        self, user: Any, run_one: Any, cache: str
    ) -> None:
        with pytest.raises(StepFailedError, match="the code changed while") as failed:
            run_one(user.spread(payloads=[1]), user.Elsewhere(cache=cache, edits="FACTOR = 99\n"))

        assert isinstance(failed.value.__cause__, SourceChangedError)

    def test_what_the_step_imports_is_what_a_worker_has_to_have(
        self, user: Any, run_one: Any, cache: str
    ) -> None:
        run_one(user.spread(payloads=[1]), user.Elsewhere(cache=cache))

        [context] = user.contexts
        assert context.requires["msgspec"] == msgspec.__version__
        assert context.requires["zenml-core"].startswith("api ")
        assert [*context.sources] == ["shipping_user:spread"]

    def test_what_a_step_says_that_its_units_import_a_worker_has_to_have(
        self, user: Any, run_one: Any, cache: str
    ) -> None:
        imports = ["yaml", "json", "helper", "no_such_module"]
        run_one(user.given(imports=imports), user.Elsewhere(cache=cache))

        [context] = user.contexts
        assert context.requires["pyyaml"] == metadata.version("pyyaml")
        # The rest is of no distribution.
        assert context.requires.keys() == {"msgspec", "pyyaml", "zenml-core"}

    def test_code_that_an_unfinished_step_needs_is_no_garbage(
        self, user: Any, run_one: Any, cache: str, store: ArtifactStore
    ) -> None:
        with pytest.raises(StepFailedError, match="two"):
            run_one(user.stopping(payloads=[1, 2]), user.Elsewhere(cache=cache))

        assert not garbage(store) & {*bundles(store)}

    def test_code_that_only_finished_steps_needed_is_garbage(
        self, user: Any, run_one: Any, cache: str, store: ArtifactStore
    ) -> None:
        run_one(user.spread(payloads=[1]), user.Elsewhere(cache=cache))

        assert {*bundles(store)} <= garbage(store)


class TestShipCode:
    def test_it_names_the_bundle_and_the_roots_inside_it(
        self, context: MapContext, store: ArtifactStore
    ) -> None:
        shipped = ship_code(context)

        assert bundles(store) == [f"code/{shipped.code}.tar.gz"]
        assert shipped.import_roots == ("src",)
        assert (shipped.store, shipped.scope, shipped.step) == (store.url, "units/key", "tested")

    def test_equal_code_is_uploaded_once(self, context: MapContext, store: ArtifactStore) -> None:
        first = ship_code(context)
        [before] = store.list("code/")

        assert ship_code(context) == first == ship_code(first)

        assert [*store.list("code/")] == [before]

    def test_the_repository_itself_may_be_the_root(
        self, context: MapContext, project: Path
    ) -> None:
        there = msgspec.structs.replace(context, import_roots=(str(project),))

        assert ship_code(there).import_roots == (".",)

    def test_installed_code_is_not_shipped(self, context: MapContext, store: ArtifactStore) -> None:
        installed = msgspec.structs.replace(context, import_roots=())

        assert ship_code(installed) is installed
        assert bundles(store) == []

    def test_code_outside_of_the_repository_is_refused_as_for_a_job(
        self, context: MapContext, store: ArtifactStore, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        roots = sorted(str(tmp_path_factory.mktemp(name)) for name in "ab")
        outside = msgspec.structs.replace(context, import_roots=(*roots, *context.import_roots))

        with pytest.raises(ConfigurationError) as refused:
            ship_code(outside)

        assert "the code cannot be sent elsewhere: 2 problems" in str(refused.value)
        assert [problem.path for problem in refused.value.problems] == roots
        assert "move it inside, or install it" in str(refused.value)
        assert bundles(store) == []

    def test_from_where_a_job_unpacked_it_the_same_bundle_is_shipped(
        self,
        context: MapContext,
        store: ArtifactStore,
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        first = ship_code(context)
        assert first.code is not None
        folder = unpack(store, first.code, tmp_path_factory.mktemp("job") / "code")
        (folder / "a result.txt").write_text("that a step has left")
        monkeypatch.chdir(folder)

        again = ship_code(msgspec.structs.replace(context, import_roots=(str(folder / "src"),)))

        assert again == first
        assert len(bundles(store)) == 1
