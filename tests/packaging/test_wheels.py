"""What the wheels hold, and what is left of it where only the declared dependencies are."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.packaging.conftest import Distribution, Environment, Wheels

# Runs in the environment under test. Prints, as JSON, each module of a distribution that cannot be
# imported, with the module that is missing (if that is the reason) and the error.
IMPORT_EVERYTHING = """
import importlib, importlib.metadata, json, sys
failed = {}
for file in importlib.metadata.files(sys.argv[1]):
    if file.suffix == ".py" and file.stem != "__main__":
        module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        try:
            importlib.import_module(module)
        except BaseException as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            failed[module] = [missing, f"{type(error).__name__}: {error}"]
print(json.dumps(failed))
"""

# Runs there, too. Prints the distributions that are listed, and those of whose modules some were
# imported for that.
LIST_BACKENDS = """
import json, sys
before = {*sys.modules}
from importlib import metadata
from zenml.repo import Repository
listed = {row.distribution for row in Repository.get_instance().get_backends()}
owners = metadata.packages_distributions()
new = {name.partition(".")[0] for name in sys.modules.keys() - before}
imported = {owner for name in new for owner in owners.get(name, ())}
print(json.dumps([sorted(listed), sorted(imported)]))
"""


@pytest.fixture(scope="module")
def environment(
    distribution: Distribution, new_environment: Callable[[], Environment]
) -> Environment:
    """An environment in which this one distribution was asked for, and none of its extras."""
    environment = new_environment()
    environment.install(distribution.name)
    return environment


def _failing_imports(environment: Environment, distribution: Distribution) -> dict[str, list[str]]:
    done = environment.run("python", "-c", IMPORT_EVERYTHING, distribution.name)
    assert done.returncode == 0, done.stderr
    failed: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return failed


def _files(wheels: Wheels, distribution: Distribution) -> dict[str, bytes]:
    with ZipFile(wheels.of(distribution.name)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_wheel_holds_the_source_of_its_distribution_and_nothing_else(
    wheels: Wheels, distribution: Distribution
) -> None:
    held = {name for name in _files(wheels, distribution) if ".dist-info/" not in name}

    source = distribution.source
    written = [file for file in source.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    assert held == {file.relative_to(source).as_posix() for file in written}


def test_a_wheel_provides_its_own_packages_and_no_regular_zenml(
    wheels: Wheels, distribution: Distribution
) -> None:
    held = {name for name in _files(wheels, distribution) if ".dist-info/" not in name}

    assert {name for name in held if "/" not in name} == distribution.modules
    assert {name.split("/")[0] for name in held if "/" in name} == {"zenml"}
    assert {name.split("/")[1] for name in held if "/" in name} == distribution.packages


def test_every_package_of_a_wheel_is_regular_and_typed(
    wheels: Wheels, distribution: Distribution
) -> None:
    held = _files(wheels, distribution).keys()

    for package in distribution.packages:
        assert {f"zenml/{package}/__init__.py", f"zenml/{package}/py.typed"} <= held


def test_a_wheel_declares_what_its_distribution_needs_of_this_project(
    wheels: Wheels, distribution: Distribution
) -> None:
    files = _files(wheels, distribution)
    [metadata] = [text.decode() for name, text in files.items() if name.endswith("/METADATA")]

    declared = re.findall(r"^Requires-Dist: (zenml-[a-z]+)(.*)$", metadata, re.MULTILINE)

    # A minor version of the core may change a contract: the next one is not for these plugins.
    assert dict(declared) == dict.fromkeys(distribution.requires, "<0.2,>=0.1")


def test_installing_a_distribution_brings_what_it_needs_of_this_project(
    environment: Environment, distribution: Distribution
) -> None:
    listed = json.loads(environment.run("pip", "list", "--format", "json").stdout)

    ours = {row["name"] for row in listed if row["name"].startswith("zenml")}
    assert ours == {distribution.name, *distribution.requires}
    assert environment.run("pip", "check").returncode == 0


def test_listing_its_backends_imports_nothing_that_it_brings(
    environment: Environment,
    distribution: Distribution,
    distributions: tuple[Distribution, ...],
    tmp_path: Path,
) -> None:
    done = environment.run("python", "-c", LIST_BACKENDS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    listed, imported = json.loads(done.stdout)

    with_backends = {"beam", "dataflow", "gcaip", "gcp", "k8s", "local", "spark"}
    expected = {distribution.name, *distribution.requires} & {f"zenml-{n}" for n in with_backends}
    assert {*listed} == expected
    ours = {one.name for one in distributions}
    assert {*imported} - ours <= {"msgspec", "pluggy", "typing_extensions"}


def test_every_module_imports_with_what_is_declared(
    environment: Environment, distribution: Distribution
) -> None:
    from_extras = {module for _, modules in distribution.extras for module in modules}

    failed = _failing_imports(environment, distribution)

    assert {name: why for name, (gap, why) in failed.items() if gap not in from_extras} == {}


def test_every_module_imports_with_the_extras(
    distribution: Distribution, wheels: Wheels, new_environment: Callable[[], Environment]
) -> None:
    if not distribution.extras:
        pytest.skip(f"{distribution.name} has no extras")
    extras = ",".join(name for name, _ in distribution.extras)
    environment = new_environment()

    # By its path, because older pips find no constrained name that has extras.
    environment.install(f"{wheels.of(distribution.name)}[{extras}]")

    assert _failing_imports(environment, distribution) == {}
