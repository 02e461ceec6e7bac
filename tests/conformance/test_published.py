"""What this project publishes of its own conformance is what its suites and proofs are now."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

REFRESH = "'nox -s conformance', or python tests/conformance/refresh.py with everything installed"


def _refresh() -> Any:
    if str(HERE) not in sys.path:
        sys.path.append(str(HERE))
    return importlib.import_module("refresh")


refresh = _refresh()
PUBLISHED = refresh.published()


@pytest.mark.parametrize("name", refresh.TABLES)
def test_the_tables_in_the_docs_are_up_to_date(name: str) -> None:
    written = dict(refresh.parts(refresh.DOCS.read_text(encoding="utf-8")))

    made = refresh.TABLES[name]()

    assert written[name] == made, f"docs/conformance.md is out of date; {REFRESH} --docs mends it"


@pytest.mark.parametrize("one", PUBLISHED, ids=[one.name for one in PUBLISHED])
def test_published_results_are_of_exactly_the_present_suites_and_cases(one: Any) -> None:
    assert one.file.exists(), f"{one.name} has suites and publishes no results; {REFRESH} does"
    try:
        metadata.distribution(one.name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{one.name} is not installed, so its suites cannot be looked at")
    held = json.loads(one.file.read_text(encoding="utf-8"))["suites"]

    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", *map(str, one.tests)],
        cwd=refresh.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    nodes = [line.partition("[")[0].split("::")[1:] for line in collected.splitlines()]
    present = {tuple(node) for node in nodes if len(node) == 2}
    results = {(suite["suite"], case["name"]) for suite in held for case in suite["cases"]}
    assert results == present, f"{one.name} publishes what is out of date; {REFRESH} mends it"


@pytest.mark.parametrize("one", PUBLISHED, ids=[one.name for one in PUBLISHED])
def test_published_results_are_of_the_present_version_and_none_fails(one: Any) -> None:
    held = json.loads(one.file.read_text(encoding="utf-8"))["suites"]

    assert {(suite["distribution"], suite["version"]) for suite in held} == {
        (one.name, one.version)
    }, f"{one.name} publishes what is out of date; {REFRESH} mends it"
    failed = [c["name"] for suite in held for c in suite["cases"] if c["result"] == "failed"]
    assert failed == []
