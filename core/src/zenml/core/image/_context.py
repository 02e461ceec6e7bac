"""A build context: the Dockerfile, what is installed, and the wheels that no index has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

from zenml.core.errors import ConfigurationError, Problem
from zenml.core.image._wheels import find_wheels, local_distributions, make_wheel
from zenml.core.plugins._entry_points import normalise

__all__ = ["dockerfile", "write_context"]

#: Where the Dockerfile has the wheels.
_WHEELS = "file:///context/wheels"


def dockerfile() -> str:
    """The Dockerfile, the same for every image."""
    return resources.files("zenml.core.image").joinpath("Dockerfile").read_text(encoding="utf-8")


def write_context(
    folder: Path, pins: Mapping[str, str], requirements: Sequence[str], wheels: Path | None = None
) -> None:
    """Fill an empty folder with a build context, and with nothing that the build does not need.

    Args:
        folder: The folder.
        pins: Distributions and their exact versions. One that is here in that version, and was not
            installed from an index, is built, and so is what it needs of such.
        requirements: What is installed besides, as pip reads it.
        wheels: A folder of wheels, which go before what would be built and before an index.

    Raises:
        ConfigurationError: a wheel cannot be had.
    """
    into = folder / "wheels"
    into.mkdir()
    for wheel in _given(wheels):
        shutil.copyfile(wheel, into / wheel.name)
    pins = {normalise(name): version for name, version in pins.items()}
    local = local_distributions(pins)
    lines: list[str] = []
    problems: list[Problem] = []
    for name, version in sorted({**pins, **local}.items()):
        try:
            lines.append(_line(name, version, into, is_local=name in local))
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError("the image cannot hold all that is installed here", problems)
    text = "".join(f"{line}\n" for line in [*lines, *requirements])
    (folder / "requirements.txt").write_text(text, encoding="utf-8")
    (folder / "Dockerfile").write_text(dockerfile(), encoding="utf-8")


def _given(wheels: Path | None) -> Iterator[Path]:
    if wheels is None:
        return
    found = sorted(wheels.glob("*.whl"))
    if not found:
        problem = Problem("--wheels", f"there is no wheel in {wheels}")
        raise ConfigurationError("the image cannot be built", [problem])
    yield from found


def _line(name: str, version: str, wheels: Path, *, is_local: bool) -> str:
    """One distribution as pip is to install it; its wheel is made if that is needed."""
    if is_local and not find_wheels(wheels, name, version):
        requirement = make_wheel(name, version, wheels)
        if requirement:
            return requirement
    found = find_wheels(wheels, name, version)
    # By its file, so that no index can answer in its place. Of several, pip knows which one fits.
    return f"{name} @ {_WHEELS}/{found[0].name}" if len(found) == 1 else f"{name}=={version}"
