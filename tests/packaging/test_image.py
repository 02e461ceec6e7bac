"""An image that is really built, by buildah, from real wheels and a small Debian with Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.packaging.conftest import Environment, Wheels

    Run = Callable[..., subprocess.CompletedProcess[str]]

#: Python of the base image.
PYTHON = "3.11"

PIP_CONFIG = """
[global]
no-index = true
proxy = http://somebody:hunter2@127.0.0.1:9
"""

#: Counts compiled files, and those that are not checked by content.
COMPILED = """
import pathlib
found = [file.read_bytes()[4] for file in pathlib.Path("/opt/zenml/lib").rglob("*.pyc")]
print(len(found), len([flags for flags in found if flags != 3]))
"""

#: How the compiled files of some of Python's own modules are checked.
FLAGS = """
import asyncio.events, inspect, json.decoder, typing
for module in (asyncio.events, inspect, json.decoder, typing):
    with open(module.__cached__, "rb") as file:
        print(file.read(5)[4])
"""


class Buildah:
    """buildah, with storage of its own."""

    def __init__(self, folder: Path) -> None:
        policy = folder / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.storage = ["--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        self.storage += ["--storage-driver", "vfs"]
        self.trusting = ["--signature-policy", str(policy)]
        self.building = [*self.storage, *self.trusting, "--isolation", "chroot", "--pull-never"]

    def __call__(self, *arguments: str) -> str:
        done = self.ask(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["buildah", *self.storage, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def base_archive() -> Path:
    """A base image that the tests of clusters have made, which takes them minutes."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = sorted((cache / "zenml" / "cluster").glob("base-image/*/image.tar"))
    if not found:
        pytest.skip("no base image is here; the tests of clusters make one")
    return found[-1]


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Buildah:
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed")
    archive = base_archive()
    made = Buildah(tmp_path_factory.mktemp("storage"))
    image = made("pull", "--quiet", *made.trusting, f"docker-archive:{archive}")
    made("tag", image.split()[-1], "localhost/base:test")
    return made


@pytest.fixture(scope="module")
def installed(new_environment: Callable[[], Environment]) -> Environment:
    """What a user has, who builds images."""
    environment = new_environment()
    environment.install("zenml-core", "zenml-local")
    return environment


@pytest.fixture(scope="module")
def wheelhouse(
    installed: Environment, wheels: Wheels, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The wheels of this project, and of all that they need."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    ours = [str(wheels.of(name)) for name in ("zenml-core", "zenml-local")]
    pins = ["--constraint", str(root / "constraints.txt")]
    done = installed.run(
        *("pip", "download", "--quiet", "--dest", str(folder), "--only-binary", ":all:"),
        *("--python-version", PYTHON, "--find-links", str(wheels.folder), *pins, *ours),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def build(
    installed: Environment,
    wheelhouse: Path,
    buildah: Buildah,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Runs ``zenml image build``."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pip.conf").write_text(PIP_CONFIG)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return installed.run(
            *("zenml", "image", "build", "--builder", "buildah", "--base", "localhost/base:test"),
            *("--wheels", str(wheelhouse), "--pip-config", "pip.conf", *arguments),
            *("--", *buildah.building),
            cwd=folder,
        )

    return run


@pytest.fixture(scope="module")
def image(build: Run, wheels: Wheels, buildah: Buildah) -> str:
    """The image, by its name."""
    done = build()
    assert done.returncode == 0, done.stderr
    name = f"zenml-runtime:{wheels.version_of('zenml-core')}"
    assert done.stdout == f"built {name} with buildah\n"
    return f"localhost/{name}"


@pytest.fixture(scope="module")
def run(image: str, buildah: Buildah) -> Run:
    """Runs a command in a container of the image."""
    container = buildah("from", "--pull-never", image).strip()
    return lambda *words: buildah.ask("run", "--isolation", "chroot", container, "--", *words)


def test_it_runs_the_versions_that_are_installed_here(run: Run, wheels: Wheels) -> None:
    listed = [line.split()[:2] for line in run("zenml", "plugin", "list").stdout.splitlines()]

    for name in ("zenml-core", "zenml-local"):
        assert [name, wheels.version_of(name)] in listed
    assert run("python", "-c", "from zenml.core.runner import Task").returncode == 0


def test_nobody_is_root_and_nothing_but_the_working_folder_can_be_written(run: Run) -> None:
    assert run("sh", "-c", "id -u; pwd").stdout.split() == ["1000", "/workspace"]
    assert run("touch", "/workspace/mine").returncode == 0
    assert run("touch", "/opt/zenml/mine").returncode != 0


def test_all_of_it_is_compiled_and_checked_by_content(run: Run) -> None:
    compiled, others = map(int, run("python", "-c", COMPILED).stdout.split())

    assert compiled > 500
    assert others == 0


def test_python_itself_is_compiled_once_and_for_all(run: Run) -> None:
    flags = run("python", "-c", FLAGS).stdout.split()

    assert flags == ["1"] * 4  # whatever the time of the source: a build may have set it


def test_what_built_it_stayed_behind(run: Run) -> None:
    assert run("python", "-m", "pip", "--version").returncode != 0
    assert run("ls", "/context", "/pip", "/run/secrets/pip.conf").stdout == ""


def test_no_secret_is_in_any_layer_nor_in_its_history(
    image: str, buildah: Buildah, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    buildah("push", "--quiet", *buildah.trusting, image, f"docker-archive:{archive}")

    data = archive.read_bytes()
    assert b"class JobBackend(Backend)" in data  # nothing is compressed
    assert b"hunter2" not in data


def test_a_build_that_fails_says_why(build: Run) -> None:
    done = build("--requirement", "no-such-thing-at-all", "--tag", "broken:1")

    assert done.returncode == 1
    error = done.stderr[done.stderr.index("error: ") :]
    assert error.startswith("error: buildah failed with exit code ")
    assert "No matching distribution found for no-such-thing-at-all" in error
    assert "hunter2" not in done.stdout + done.stderr
