"""Prism, which is built once and kept outside of the checkout, and what units import."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zenml.core import MapContext, Unit, open_store

_BUILDER = Path(__file__).parents[3] / "tests" / "services" / "harness" / "prism.py"

UNITS = """
import os, time
from pathlib import Path

from zenml.core.errors import StoreUnavailableError

def square(payload, files):
    return payload * payload

def killed(payload, files):
    if payload == 3:
        os.kill(os.getpid(), 9)
    return payload

def leaves(payload, files):
    os._exit(3)

def loud(payload, files):
    print("x" * 1_000_000)
    return payload

def away(payload, files):
    raise StoreUnavailableError("its own store is away")

def raises(payload, files):
    raise ValueError("too hot")

def hides(payload, files):
    # Renamed by the first that comes, and by nobody else.
    store = Path(payload["store"])
    if not Path(payload["mark"]).exists():
        Path(payload["mark"]).touch()
        store.rename(payload["away"])
    return 1

def wait(payload, files):
    Path(payload).touch()
    time.sleep(600)
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("beam", "Apache Beam (zenml-beam)")
    group.addoption("--full-prism", action="store_true", help="conformance on Prism, too")


@pytest.fixture(scope="session")
def prism() -> str:
    """The path of Prism's program."""
    try:
        return str(runpy.run_path(str(_BUILDER))["prism"]())
    except (OSError, RuntimeError) as error:
        pytest.skip(f"Prism cannot be built here: {str(error)[-500:]}")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MapContext:
    """For units of ``UNITS``, in a repository and a store of their own."""
    folder = tmp_path / "repository"
    (folder / ".zenml").mkdir(parents=True)
    (folder / "units_on_beam.py").write_text(UNITS)
    monkeypatch.chdir(folder)
    store = open_store((tmp_path / "store").as_uri())
    store.prepare()
    return MapContext(
        store=store.url, scope="units/key", step="tested", import_roots=(str(folder),)
    )


@pytest.fixture
def units() -> Callable[..., list[Unit]]:
    """Units of a function of ``UNITS``."""

    def make(name: str, payloads: Any) -> list[Unit]:
        return [Unit(f"units_on_beam:{name}", payload, "code") for payload in payloads]

    return make
