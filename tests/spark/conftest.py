"""The standalone cluster that tests run against, for the whole session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Standalone


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("spark", "Apache Spark (tests/spark)")
    group.addoption("--full-local", action="store_true", help="conformance without a cluster, too")


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A master and two workers."""
    with Standalone(tmp_path_factory.mktemp("standalone")) as cluster:
        yield cluster
