"""A job in an environment of its own, made of real wheels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.packaging.conftest import Environment, Wheels

SCRIPT = """
import json
import sys
from importlib import metadata

import iniconfig
from zenml.local import OrchestratorSubprocessBackend
from zenml.pipelines import Pipeline, step


@step
def look() -> dict[str, str]:
    print("prefix", sys.prefix)
    found = {one.name: one.version for one in metadata.distributions()}
    return {**found, "imported": iniconfig.__name__, "prefix": sys.prefix}


if __name__ == "__main__":
    parameters = json.loads(sys.argv[1])
    pipeline = Pipeline(name="elsewhere", enable_cache=False)
    pipeline.add_step(look())
    run = pipeline.run(OrchestratorSubprocessBackend(virtual_environment=True, **parameters))
    print(json.dumps(run.load("look")))
"""


@pytest.fixture(scope="module")
def installed(new_environment: Callable[[], Environment]) -> Environment:
    """What a user has: more than the plan needs."""
    environment = new_environment()
    environment.install("zenml-core", "zenml-local", "iniconfig", "packaging")
    return environment


@pytest.fixture
def run(
    installed: Environment, wheels: Wheels, root: Path, tmp_path: Path
) -> Callable[..., tuple[Any, str]]:
    """Runs the pipeline; gives what its step returned, and what was told."""
    (tmp_path / "project" / ".zenml").mkdir(parents=True)
    (tmp_path / "project" / "look.py").write_text(SCRIPT, encoding="utf-8")
    constraints = f"{wheels.folder / 'local.txt'} {root / 'constraints.txt'}"
    variables = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        # An index may offer something else under our names.
        "PIP_CONSTRAINT": constraints,
        "UV_CONSTRAINT": constraints,
    }

    def started(**parameters: Any) -> tuple[Any, str]:
        arguments = ["look.py", json.dumps(parameters)]
        done = installed.run("python", *arguments, cwd=tmp_path / "project", **variables)
        last = done.stdout.splitlines()[-1] if done.stdout else "null"
        return json.loads(last), done.stderr

    return started


def test_it_holds_what_the_plan_recorded_and_is_made_once(
    run: Callable[..., tuple[Any, str]], wheels: Wheels, tmp_path: Path
) -> None:
    found, told = run()

    assert found is not None, told
    assert found["imported"] == "iniconfig"
    assert {"zenml-core", "zenml-local", "iniconfig", "msgspec"} <= found.keys()
    assert found["zenml-core"] == wheels.version_of("zenml-core")
    assert "packaging" not in found
    assert Path(found["prefix"]).parent == tmp_path / "cache" / "zenml" / "environments"

    again, told = run()

    assert again == found
    assert "installs" not in told


def test_a_further_requirement_that_is_nowhere_ends_the_run_with_what_was_said_of_it(
    run: Callable[..., tuple[Any, str]],
) -> None:
    found, told = run(requirements=["zenml-core==0.0.0.dev0"])

    assert found is None
    assert "IMAGE: the environment cannot be made: " in told
    assert "zenml-core==0.0.0.dev0" in told
