"""A plugin that somebody else publishes: installed it is there, and listing it costs nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.packaging.conftest import Environment, Wheels


@pytest.fixture(scope="module")
def installed(new_environment: Callable[[], Environment]) -> Environment:
    """What ``pip install acme-zenml-dask`` gives."""
    environment = new_environment()
    environment.install("acme-zenml-dask")
    return environment


#: Does what the command ``zenml`` does, and tells what that has imported.
LIST = """
import json, sys
from _zenml_main import main
sys.argv = ["zenml", "backend", "list", "--json"]
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def test_its_backend_is_listed(installed: Environment, wheels: Wheels, tmp_path: Path) -> None:
    listed = installed.run("zenml", "backend", "list", "--json", cwd=tmp_path)

    assert listed.returncode == 0, listed.stderr
    [row] = [row for row in json.loads(listed.stdout) if row["distribution"] == "acme-zenml-dask"]
    assert (row["kind"], row["type"], row["status"]) == ("processing", "dask", "available")
    assert row["version"] == wheels.version_of("acme-zenml-dask")


def test_listing_it_imports_nothing_that_it_uses(installed: Environment, tmp_path: Path) -> None:
    listed = installed.run("python", "-c", LIST, cwd=tmp_path)

    assert "acme-zenml-dask" in listed.stdout, listed.stderr
    imported = json.loads(listed.stderr.splitlines()[-1])
    assert "acme_zenml_dask.plugin" in imported
    assert not {name.partition(".")[0] for name in imported} & {"dask", "distributed", "tornado"}


def test_its_wheel_is_typed_and_says_its_licence(installed: Environment) -> None:
    code = (
        "import json; from importlib.metadata import files, metadata; "
        "print(json.dumps([[str(f) for f in files('acme-zenml-dask')], "
        "metadata('acme-zenml-dask')['License-Expression']]))"
    )
    done = installed.run("python", "-c", code)

    files, licence = json.loads(done.stdout)
    assert "acme_zenml_dask/py.typed" in files
    assert licence == "Apache-2.0"


def test_a_pipeline_runs_on_it(installed: Environment, tmp_path: Path) -> None:
    (tmp_path / ".zenml").mkdir()
    (tmp_path / "squares.py").write_text(
        """
from acme_zenml_dask import ProcessingDaskBackend
from zenml.pipelines import Pipeline, StepContext, step

def square(payload, files):
    return payload * payload

@step
def squares(context: StepContext) -> list:
    return context.map(square, range(5))

pipeline = Pipeline("squares")
pipeline.add_step(squares(), name="squares")
print(pipeline.run(backends={"processing": ProcessingDaskBackend()}).load("squares"))
"""
    )

    done = installed.run("python", "squares.py", cwd=tmp_path)

    assert done.stdout == "[0, 1, 4, 9, 16]\n", done.stderr
