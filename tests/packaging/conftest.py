"""The distributions of this project, their wheels, and environments to install them into."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Distribution:
    """One distribution, as it is meant to be.

    Attributes:
        name: Its name.
        folder: Where its pyproject.toml is.
        packages: The packages directly below ``zenml`` that it alone provides.
        modules: Files that it installs beside ``zenml``.
        requires: The distributions of this project that it declares to need.
        extras: What it can do with more: name of the extra to the modules that the extra brings.
    """

    name: str
    folder: Path
    packages: frozenset[str]
    modules: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()
    extras: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def source(self) -> Path:
        return self.folder / "src"


DISTRIBUTIONS = (
    Distribution(
        name="zenml-core",
        folder=ROOT / "core",
        packages=frozenset({"backends", "core", "metadata", "pipelines", "repo"}),
        modules=frozenset({"_zenml_main.py", "_zenml_pytest.py"}),
        extras=(("testing", ("pytest",)),),
    ),
    Distribution(
        name="zenml-beam",
        folder=ROOT / "plugins" / "zenml-beam",
        packages=frozenset({"beam"}),
        requires=frozenset({"zenml-core"}),
    ),
    Distribution(
        name="zenml-dataflow",
        folder=ROOT / "plugins" / "zenml-dataflow",
        packages=frozenset({"dataflow"}),
        requires=frozenset({"zenml-beam", "zenml-core", "zenml-gcp", "zenml-local"}),
    ),
    Distribution(
        name="zenml-gcaip",
        folder=ROOT / "plugins" / "zenml-gcaip",
        packages=frozenset({"gcaip"}),
        requires=frozenset({"zenml-core", "zenml-gcp", "zenml-local"}),
    ),
    Distribution(
        name="zenml-gcp",
        folder=ROOT / "plugins" / "zenml-gcp",
        packages=frozenset({"gcp"}),
        requires=frozenset({"zenml-core", "zenml-local"}),
    ),
    Distribution(
        name="zenml-k8s",
        folder=ROOT / "plugins" / "zenml-k8s",
        packages=frozenset({"k8s"}),
        requires=frozenset({"zenml-core", "zenml-local"}),
    ),
    Distribution(
        name="zenml-local",
        folder=ROOT / "plugins" / "zenml-local",
        packages=frozenset({"local"}),
        requires=frozenset({"zenml-core"}),
    ),
    Distribution(
        name="zenml-spark",
        folder=ROOT / "plugins" / "zenml-spark",
        packages=frozenset({"spark"}),
        requires=frozenset({"zenml-core", "zenml-local"}),
    ),
    Distribution(
        name="zenml-steps",
        folder=ROOT / "plugins" / "zenml-steps",
        packages=frozenset({"datasources", "steps"}),
        requires=frozenset({"zenml-core", "zenml-local"}),
        extras=(
            ("bigquery", ("google",)),
            ("image", ("PIL",)),
            ("mysql", ("pymysql", "sqlalchemy")),
            ("pandas", ("pandas",)),
            ("postgres", ("psycopg", "sqlalchemy")),
            ("sklearn", ("sklearn", "skops")),
            ("sql", ("sqlalchemy",)),
        ),
    ),
)


@dataclass(frozen=True)
class Wheels:
    """A folder with the wheel of every distribution, the way a user might have downloaded them."""

    folder: Path

    def of(self, distribution: str) -> Path:
        """The wheel of the distribution with that name."""
        [wheel] = self.folder.glob(f"{distribution.replace('-', '_')}-*.whl")
        return wheel

    def version_of(self, distribution: str) -> str:
        """The version that the wheel's name states."""
        return self.of(distribution).name.split("-")[1]


class Environment:
    """A virtual environment with nothing in it but what a test installs."""

    def __init__(self, folder: Path, wheels: Wheels) -> None:
        venv.create(folder, with_pip=True)
        self._programs = folder / ("Scripts" if os.name == "nt" else "bin")
        self._wheels = wheels

    def install(self, *requirements: str) -> None:
        """Install requirements, with what is this project's from the wheels, never an index."""
        ours, pins = self._wheels.folder / "local.txt", ROOT / "constraints.txt"
        command = ["install", "--quiet", "--constraint", str(ours), "--constraint", str(pins)]
        done = self.run("pip", *command, *requirements)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(
        self, program: str, *arguments: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, with variables added to those of the tests."""
        return subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=cwd,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def tracked(root: Path) -> list[Path]:
    """Every file that git tracks, or that the next commit might add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := root / name).is_file()]


@pytest.fixture(scope="session")
def distributions() -> tuple[Distribution, ...]:
    return DISTRIBUTIONS


@pytest.fixture(scope="session", params=DISTRIBUTIONS, ids=str)
def distribution(request: pytest.FixtureRequest) -> Distribution:
    return request.param


@pytest.fixture(scope="session")
def wheels(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run([sys.executable, str(root / ".ci" / "wheels.py"), str(folder)], check=True)
    return Wheels(folder)


@pytest.fixture(scope="session")
def new_environment(
    wheels: Wheels, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Environment]:
    """Makes environments that hold nothing yet."""
    return lambda: Environment(tmp_path_factory.mktemp("environment"), wheels)
