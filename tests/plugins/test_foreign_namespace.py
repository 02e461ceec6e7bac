"""A foreign ``zenml/__init__.py`` hides the whole namespace; the command says so and goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugins.conftest import Installation


@pytest.fixture(params=["empty", "old", "raises"])
def foreign(installation: Installation, request: pytest.FixtureRequest) -> Path:
    """The old distribution ``zenml``, or something like it, before everything else on the path."""
    package = installation.site / "zenml"
    sources = {
        "empty": {"__init__.py": ""},
        "old": {
            "__init__.py": "from zenml.core import *",
            "core/__init__.py": "raise AssertionError('the old core')",
            "repo/__init__.py": "raise AssertionError('the old repo')",
            "backends/__init__.py": "",
        },
        "raises": {"__init__.py": "raise AssertionError('imported')"},
    }
    for name, text in sources[request.param].items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    installation.backend("acme")
    return package / "__init__.py"


def test_it_is_a_row_with_a_remedy_and_everything_else_is_listed(
    foreign: Path, installation: Installation
) -> None:
    listed = installation.json("backend", "list")

    [row] = [row for row in listed if row["status"] != "available"]
    assert (row["kind"], row["status"]) == ("plugin", "conflict")
    assert str(foreign) in row["cause"]
    assert "remove that file" in row["remedy"]
    assert {row["name"] for row in listed} >= {"acme"}


@pytest.mark.usefixtures("foreign")
def test_everything_else_works(installation: Installation) -> None:
    for command in (
        ("backend", "describe", "acme"),
        ("backend", "connect", "prod", "acme"),
        ("backend", "check", "prod"),
        ("plugin", "list"),
        ("version",),
    ):
        done = installation.zenml(*command)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_the_doctor_blames_it_alone(foreign: Path, installation: Installation) -> None:
    done = installation.zenml("doctor", "--json", ZENML_DISABLE_PLUGINS="zenml-steps")

    rows = json.loads(done.stdout)
    assert done.returncode == 1
    [bad] = [row for row in rows if not row["ok"]]
    assert str(foreign) in bad["cause"]
    assert "acme" in {row["name"] for row in rows}
