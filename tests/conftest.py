"""What tests across distributions share: the public interface, the data path, Ctrl-C, TLS."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

# What some of them share.
sys.path.insert(0, str(Path(__file__).parent / "kit"))

# Tests press Ctrl-C. A background process of a script ignores it, and so does all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "public-api.md"

_CODE = re.compile(r"`([\w.]+)`")


def documented() -> dict[str, set[str] | None]:
    """Module to the names that the document lists; None where it lists the module as a whole."""
    found: dict[str, set[str] | None] = {}
    module, whole = "", False
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            module, whole = "", line == "## Whole modules"
        elif line.startswith("From `"):
            module = _CODE.findall(line)[0]
        elif line.startswith("| `"):
            names = _CODE.findall(line.split("|")[1])
            if whole:
                found.update(dict.fromkeys(names))
            elif module:
                listed = found.setdefault(module, set())
                assert listed is not None, f"{module} is listed as a whole, too"
                listed |= set(names)
        elif line and not line.startswith("|"):
            module = ""
    return found


@pytest.fixture(scope="session")
def public_api() -> dict[str, set[str] | None]:
    """What `documented` says."""
    return documented()


@pytest.fixture(scope="session")
def document() -> str:
    """The text of docs/public-api.md."""
    return DOCUMENT.read_text(encoding="utf-8")


class DataPath:
    """The standard steps, from a CSV file to predictions, on whatever backend is told.

    Args:
        folder: Where its project and its stores are made.

    Attributes:
        one_of_each: Names of the steps that are enough where each map takes seconds: a split,
            statistics, a preprocesser, an evaluator, an inferrer, and what these need.
    """

    one_of_each = ("random", "random_statistics", "features", "model", "evaluation", "inference")

    def __init__(self, folder: Path) -> None:
        # Tests of packaging are run where nothing of this project is installed.
        from zenml.core.testing import Project

        script = Path(__file__).parent / "parity" / "project" / "data_path.py"
        self._folder = folder
        self._project = Project(folder / "project")
        self._script = shutil.copy(script, self._project.folder)
        self._runs = 0

    def digests(
        self,
        processing: str,
        parameters: dict[str, Any],
        *,
        threads: int = 2,
        **how: Any,
    ) -> dict[str, str]:
        """Step and output to the digest of the artifact.

        Args:
            processing: The class of the backend for units, as ``module:class``.
            parameters: The backend's.
            threads: The number of Polars' threads.
            how: What else the script is told. By default the store is a new folder, so that
                nothing can come from the cache.
        """
        self._runs += 1
        told = {"processing": processing, "parameters": parameters, **how}
        told.setdefault("store", str(self._folder / f"store-{self._runs}"))
        variables = {"POLARS_MAX_THREADS": str(threads), "PYTHONHASHSEED": str(threads)}
        try:
            done = self._project.run(
                str(self._script), json.dumps(told), variables=variables, timeout=1800
            )
        finally:
            self._project.end_processes()
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return found

    @cached_property
    def reference(self) -> dict[str, str]:
        """The digests of all steps, by one thread of this machine."""
        one = {"mode": "threads", "workers": 1}
        return self.digests("zenml.local:ProcessingLocalBackend", one, threads=1)

    def expected(self, only: Collection[str] | None = None) -> dict[str, str]:
        """The digests of ``reference``, of the datasource and some steps or of all."""
        return {
            name: digest
            for name, digest in self.reference.items()
            if only is None or name.partition(".")[0] in ("data", *only)
        }


@pytest.fixture(scope="session")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> DataPath:
    """The standard steps."""
    return DataPath(tmp_path_factory.mktemp("data-path"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `public_module` is run for each that the document lists."""
    if "public_module" in metafunc.fixturenames:
        metafunc.parametrize("public_module", sorted(documented()))


def pytest_configure(config: pytest.Config) -> None:
    # Python forgets a socket that is reset before TLS has begun on it: ssl.SSLSocket._create raises
    # what getpeername or recv say, and closes nothing. Tests restart or cut off what they talk to.
    config.addinivalue_line(
        "filterwarnings",
        r"ignore:Exception ignored in. <ssl\.SSLSocket:pytest.PytestUnraisableExceptionWarning",
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-public-api",
        action="store_true",
        help="write down the public interface as it is now, in place of comparing it",
    )
    parser.addoption(
        "--full-parity",
        action="store_true",
        help="all standard steps on engines that take seconds for each map, not one of each kind",
    )
