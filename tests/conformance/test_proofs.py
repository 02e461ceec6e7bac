"""Every case of the conformance suites catches a backend, or a store, that is broken."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zenml.core.testing import case_names, fake_distribution

HERE = Path(__file__).parent

#: Modules that hold ``BASE``, a suite, and ``TABLE``, its proofs; also ``CASES``, the cases that
#: need one there, where these are not all of the suite's.
MODULES = sorted(path.stem for path in HERE.glob("broken_*.py"))


@cache
def module(name: str) -> ModuleType:
    if str(HERE) not in sys.path:
        sys.path.append(str(HERE))
    return importlib.import_module(name)


#: Proofs that one session of pytest runs; most of its time it waits for what will not happen.
_AT_ONCE = 12


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What became of the proofs of a module, by suite and case."""
    folder = tmp_path_factory.mktemp("results")

    @cache
    def run(name: str) -> dict[str, Any]:
        held = module(name)
        rows = list(zip(held.SUITES, held.TABLE, strict=True))
        parts = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
        with ThreadPoolExecutor(4) as pool:
            outs = [folder / f"{name}-{number}.json" for number in range(len(parts))]
            found = pool.map(_run, [held] * len(parts), parts, outs)
        return {label: case for part in found for label, case in part.items()}

    return run


def _run(held: ModuleType, rows: list[tuple[str, Any]], out: Path) -> dict[str, Any]:
    nodes = [f"{held.__file__}::{suite}::{proof.case}" for suite, proof in rows]
    # Other processes have to find the broken classes by the names that they have here.
    options = ["-q", "--import-mode=prepend", "--conformance-json", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *nodes],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(_site(held, out))])},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    return {
        f"{suite['suite']}::{case['name']}": case
        for suite in json.loads(out.read_text())["suites"]
        for case in suite["cases"]
    }


_PLUGIN = """
from zenml.core.plugins import BackendSpec, hookimpl

@hookimpl
def {hook}():
    for name in {names}:
        yield BackendSpec(type=name.lower(), target="{module}:" + name, summary="Broken.", api=1)
"""


def _site(held: ModuleType, out: Path) -> Path:
    """A folder that stands for ``site-packages``, where the broken backends are registered."""
    site = out.with_suffix(".site")
    site.mkdir()
    if hasattr(held, "HOOK"):
        names = sorted({proof.broken.__name__ for proof in held.TABLE})
        text = _PLUGIN.format(hook=held.HOOK, names=names, module=held.__name__)
        points = {"broken": "broken_plugin"}
        fake_distribution(
            site, "broken-backends", entry_points=points, modules={"broken_plugin": text}
        )
    return site


def proofs() -> Iterator[Any]:
    for name in MODULES:
        held = module(name)
        for suite, proof in zip(held.SUITES, held.TABLE, strict=True):
            label = f"{proof.broken.__name__}-{proof.case.removeprefix('test_')}"
            yield pytest.param(name, suite, proof, id=label)


@pytest.mark.parametrize(("name", "suite", "proof"), list(proofs()))
def test_a_broken_one_is_caught(results, name, suite, proof):
    assert proof.broken.__doc__, "a broken class says what is wrong with it"
    case = results(name)[f"{suite}::{proof.case}"]
    assert case["result"] == "failed", f"{proof.broken.__doc__} was not caught"
    assert proof.says in case["reason"]


@pytest.mark.parametrize("name", MODULES)
def test_every_case_has_a_proof(name):
    held = module(name)
    cases = getattr(held, "CASES", None) or case_names(held.BASE)
    assert set(cases) == {proof.case for proof in held.TABLE}
