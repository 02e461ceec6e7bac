"""A user's first minutes: install, and see what is there."""

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
    """What ``pip install zenml-core zenml-local`` gives."""
    environment = new_environment()
    environment.install("zenml-core", "zenml-local")
    return environment


def test_the_local_backends_are_listed(
    installed: Environment, wheels: Wheels, tmp_path: Path
) -> None:
    listed = installed.run("zenml", "backend", "list", "--json", cwd=tmp_path)

    assert listed.returncode == 0, listed.stderr
    rows = json.loads(listed.stdout)
    assert {row["kind"] for row in rows} == {"orchestrator", "processing", "training"}
    for row in rows:
        assert row["type"] == row["name"]
        assert row["type"] in ("local", "subprocess")
        assert row["distribution"] == "zenml-local"
        assert row["version"] == wheels.version_of("zenml-local")
        assert (row["status"], row["cause"], row["remedy"]) == ("available", None, None)
        assert isinstance(row["capabilities"], list)
        assert row["summary"]


def test_a_foreign_zenml_package_is_named(installed: Environment, tmp_path: Path) -> None:
    foreign = tmp_path / "zenml" / "__init__.py"
    foreign.parent.mkdir()
    foreign.touch()

    doctor = installed.run("zenml", "doctor", cwd=tmp_path, PYTHONPATH=str(tmp_path))

    assert doctor.returncode != 0
    assert str(foreign) in doctor.stdout.replace("\n", "") + doctor.stderr.replace("\n", "")
    assert "Traceback" not in doctor.stderr
