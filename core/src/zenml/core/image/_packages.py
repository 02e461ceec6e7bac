"""What a plain Python needs to become the environment of a job: wheels, and what an index has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from zenml.core.errors import ConfigurationError, Problem
from zenml.core.image._wheels import find_wheels, local_distributions, make_wheel, needed_by
from zenml.core.plugins._entry_points import normalise
from zenml.core.plugins._registry import get_registry

__all__ = ["Packages", "write_packages"]


class Packages(NamedTuple):
    """Distributions, as an installer takes them.

    Attributes:
        wheels: Files, each behind those that it needs.
        requirements: What an index has, one exact version each, by name: ``polars==1.30.0``.
    """

    wheels: tuple[Path, ...]
    requirements: tuple[str, ...]


def write_packages(folder: Path, requires: Mapping[str, str], store: str) -> Packages:
    """Fill a folder with the wheels that no index has, for services that take packages.

    What was installed here from an index is a requirement. Anything else (a folder, a wheel, a
    repository) is made a wheel again, and so is what it needs of such. Making wheels of folders
    takes pip or uv, and whatever those builds need.

    Args:
        folder: Where the wheels go; it is there.
        requires: Distributions and versions, as ``Job.requires`` has them.
        store: URL of the artifact store, which a plugin may be needed for.

    Raises:
        ConfigurationError: a wheel cannot be had; it names all that cannot.
    """
    offers = get_registry().offers_of("store", store.partition("://")[0])
    opens = {offer.plugin.distribution: offer.plugin.version for offer in offers}
    pins = {normalise(name): version for name, version in {**opens, **requires}.items()}
    local = local_distributions(pins)
    requirements = [
        f"{name}=={version}" for name, version in sorted(pins.items()) if name not in local
    ]
    wheels: list[Path] = []
    problems: list[Problem] = []
    for name in _in_order(local):
        try:
            requirement = make_wheel(name, local[name], folder)
        except ConfigurationError as error:
            problems += [problem._replace(remedy=_INSTEAD) for problem in error.problems]
            continue
        if requirement:
            requirements.append(requirement)
        else:
            wheels += find_wheels(folder, name, local[name])
    if problems:
        raise ConfigurationError("a job cannot be given all that is installed here", problems)
    return Packages(tuple(wheels), tuple(requirements))


_INSTEAD = "build its wheel, and install that here; or give the service an image that holds it"


def _in_order(local: Mapping[str, str]) -> Iterator[str]:
    """Names, each behind those that it needs."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in done:
            return
        done.add(name)
        for needed in map(normalise, needed_by(name)):
            if needed in local:
                yield from visit(needed)
        yield name

    for name in sorted(local):
        yield from visit(name)
