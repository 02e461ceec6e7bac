"""``zenml plugin new``: what it writes builds, installs, is found, and passes its own tests."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple
from zipfile import ZipFile

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.packaging.conftest import Environment, Wheels


class Plugin(NamedTuple):
    """A plugin that was written, built and installed."""

    kind: str
    folder: Path
    wheel: Path
    environment: Environment


@pytest.fixture(scope="module", params=["orchestrator", "processing", "training", "store"])
def plugin(
    request: pytest.FixtureRequest,
    wheels: Wheels,
    new_environment: Callable[[], Environment],
    tmp_path_factory: pytest.TempPathFactory,
) -> Plugin:
    kind = request.param
    environment = new_environment()
    # By its path, because older pips find no constrained name that has extras.
    environment.install(f"{wheels.of('zenml-core')}[testing]")
    work = tmp_path_factory.mktemp("work")
    made = environment.run("zenml", "plugin", "new", "acme-zenml", "--kind", kind, cwd=work)
    assert made.returncode == 0, made.stderr
    folder = work / "acme-zenml"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", str(work)], cwd=folder, check=True)
    [wheel] = work.glob("*.whl")
    environment.install(str(wheel))
    return Plugin(kind, folder, wheel, environment)


def test_its_wheel_holds_its_package_and_what_it_needs_is_there(plugin: Plugin) -> None:
    with ZipFile(plugin.wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert {"acme_zenml/plugin.py", "acme_zenml/py.typed"} <= held
    assert {name.split("/")[0] for name in held} == {"acme_zenml"}
    assert plugin.environment.run("pip", "check").returncode == 0


def test_it_is_listed_as_available(plugin: Plugin) -> None:
    if plugin.kind == "store":
        listed = plugin.environment.run("zenml", "plugin", "list", "--json", cwd=plugin.folder)
        [row] = [row for row in json.loads(listed.stdout) if row["distribution"] == "acme-zenml"]
        assert row["offers"] == ["store:acme"]
    else:
        listed = plugin.environment.run("zenml", "backend", "list", "--json", cwd=plugin.folder)
        rows = {(row["kind"], row["name"]): row for row in json.loads(listed.stdout)}
        row = rows[plugin.kind, "acme"]
        # The defaults came along.
        assert rows[plugin.kind, "local"]["status"] == "available"
    assert (row["status"], row["cause"]) == ("available", None)


def test_it_passes_its_tests_and_the_whole_conformance_suite(plugin: Plugin) -> None:
    done = plugin.environment.run(
        "pytest", "-q", "--conformance-json", "results.json", cwd=plugin.folder
    )

    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((plugin.folder / "results.json").read_text(encoding="utf-8"))
    [suite] = results["suites"]
    assert (suite["type"], suite["distribution"]) == ("acme", "acme-zenml")
    assert {case["result"] for case in suite["cases"]} <= {"passed", "skipped"}
    skipped = [case for case in suite["cases"] if case["result"] == "skipped"]
    assert {case["name"] for case in skipped if case["tier"] == "required"} <= {
        "test_a_local_path_is_the_object"
    }


@pytest.mark.skipif(not importlib.util.find_spec("ruff"), reason="ruff is not installed")
def test_a_linter_and_a_formatter_have_nothing_to_say(plugin: Plugin) -> None:
    for command in (["check"], ["format", "--check", "--diff"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache"]
        done = subprocess.run(ruff, cwd=plugin.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
