"""Makes anew what this project publishes of its own conformance.

The suites of each distribution are run, and their results become the ``conformance.json`` that it
ships; of these, and of the proofs, come the tables in ``docs/conformance.md``. Everything of this
project has to be installed, and what a cluster or a stand-in for a service is made of.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zenml.core.testing import case_names

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOCS = ROOT / "docs" / "conformance.md"

#: Suites that need a cluster, or what stands in for a service, stand beside that, below ``tests``.
#: Where they are run behind faults, too, the plain ones are published.
ELSEWHERE = {
    "zenml-dataflow": ["services/test_dataflow_conformance.py"],
    "zenml-gcaip": ["services/test_vertex_conformance.py::TestTraining"],
    "zenml-gcp": [
        "services/test_compute_conformance.py::TestOrchestrator",
        "services/test_store_conformance.py::TestGCSStore",
    ],
    "zenml-k8s": ["cluster/test_conformance.py", "cluster/test_processing.py"],
    "zenml-spark": ["spark/test_conformance.py"],
}
#: What runs suites that are left out otherwise.
OPTIONS = {"zenml-spark": ["--full-local"]}


class Published(NamedTuple):
    """A distribution that publishes results.

    Attributes:
        name: Its name.
        version: Its version, as its source states it.
        tests: The files that hold its suites, or their classes.
        file: What it ships.
    """

    name: str
    version: str
    tests: list[Path]
    file: Path


def published() -> list[Published]:
    """The distributions of this project that have suites."""
    found = []
    for file in sorted([ROOT / "core/pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]):
        text, folder = file.read_text(encoding="utf-8"), file.parent
        name, version = _line(r'^name = "(.+)"', text), _line(r'^version = "(.+)"', text)
        tests = sorted(folder.glob("tests/**/test_conformance*.py"))
        tests += [ROOT / "tests" / suite for suite in ELSEWHERE.get(name, ())]
        if tests:
            # Beside the light module, which the registry knows without looking for it.
            light = _line(r'\[project\.entry-points\."zenml\.plugins"\]\n[\w-]+ = "([\w.]+)"', text)
            package = light.rpartition(".")[0].replace(".", "/")
            made = folder / "src" / package / "conformance.json"
            found.append(Published(name, version, tests, made))
    return found


def _line(pattern: str, text: str) -> str:
    [found] = re.findall(pattern, text, re.MULTILINE)
    return found


def run_suites(one: Published) -> None:
    """Run the suites of a distribution, and keep their results unless one of them fails."""
    print(f"{one.name}: running its suites", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / one.file.name
        command = [sys.executable, "-m", "pytest", "-q", f"--conformance-json={results}"]
        command += OPTIONS.get(one.name, [])
        done = subprocess.run([*command, *map(str, one.tests)], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(f"{one.name}: a suite fails, so its results are not published")
        one.file.write_bytes(results.read_bytes())


def matrix() -> str:
    """What the command prints, in an installation that has this project's distributions only."""
    ours = published()
    files = [str(one.file) for one in ours if one.file.exists()]
    variables = {"ZENML_ALLOW_PLUGINS": ",".join(one.name for one in ours), "PYTHONUTF8": "1"}
    with tempfile.TemporaryDirectory() as folder:
        # A repository of its own, whose configuration says nothing of plugins.
        (Path(folder) / ".zenml").mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "_zenml_main", "plugin", "conformance", *files],
            cwd=folder,
            env={**os.environ, **variables},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    if done.returncode or done.stderr:
        sys.exit(f"zenml plugin conformance: {done.stderr}")
    return done.stdout


def proofs() -> str:
    """What each case catches, in the words of the classes that it does catch."""
    if str(HERE) not in sys.path:
        sys.path.append(str(HERE))
    lines: list[str] = []
    for path in sorted(HERE.glob("broken_*.py")):
        held = importlib.import_module(path.stem)
        lines += [f"### {path.stem.removeprefix('broken_').capitalize()}", ""]
        lines += ["| case | it catches |", "| --- | --- |"]
        for name in getattr(held, "CASES", None) or case_names(held.BASE):
            caught = [_in_words(proof.broken) for proof in held.TABLE if proof.case == name]
            words = name.removeprefix("test_").replace("_", " ")
            lines.append(f"| {words} | {'<br>'.join(caught)} |")
        lines.append("")
    return "\n".join(lines)


def _in_words(broken: object) -> str:
    text = inspect.cleandoc(broken.__doc__ or "").partition("\n\n")[0]
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


#: What stands between the markers of that name.
TABLES = {"results": matrix, "proofs": proofs}


def parts(text: str) -> Iterator[tuple[str, str]]:
    """The generated parts of the docs: name and text."""
    for name in TABLES:
        yield name, _line(f"<!-- begin {name} -->\n\n((?s:.*))\n<!-- end {name} -->", text)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="DISTRIBUTION", help="run these suites only")
    parser.add_argument("--docs", action="store_true", help="run no suites, only write the tables")
    asked = parser.parse_args()
    ours = {one.name: one for one in published()}
    unknown = set(asked.names) - ours.keys()
    if unknown:
        parser.error(f"no suites of {', '.join(sorted(unknown))}; there are {', '.join(ours)}")
    if not asked.docs:
        for name in asked.names or ours:
            run_suites(ours[name])
    text = DOCS.read_text(encoding="utf-8")
    for name, old in parts(text):
        marked = "<!-- begin {0} -->\n\n{1}\n<!-- end {0} -->"
        text = text.replace(marked.format(name, old), marked.format(name, TABLES[name]()))
    DOCS.write_text(text, encoding="utf-8")
    print(f"{DOCS.relative_to(ROOT)} is up to date")


if __name__ == "__main__":
    main()
