"""What is installed into an image, as lines that pip reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from zenml.core.bundle import required_distributions
from zenml.core.contracts import ArtifactStore
from zenml.core.errors import ConfigurationError, Problem
from zenml.core.plan import Plan
from zenml.core.plugins._entry_points import normalise
from zenml.core.plugins._registry import Registry

__all__ = ["checked", "of_plan", "of_plugins", "read_lines"]


def of_plugins(registry: Registry) -> dict[str, str]:
    """zenml-core and the plugins that are installed here and can be used, with their versions."""
    usable = (plugin for plugin in registry.plugins if plugin.status == "available")
    return {plugin.distribution: plugin.version for plugin in usable}


def of_plan(plan: Plan, registry: Registry, store: ArtifactStore) -> dict[str, str]:
    """What a plan needs where its job runs, with the versions that it was made with.

    Args:
        plan: The plan.
        registry: What is installed.
        store: Where its results go.

    Raises:
        ConfigurationError: it needs a module that is in no distribution.
    """
    # No plan names its store.
    opens = [offer.plugin for offer in registry.offers_of("store", store.scheme)]
    required = {
        **{normalise(plugin.distribution): plugin.version for plugin in opens},
        **required_distributions(plan, registry),
        "zenml-core": metadata.version("zenml-core"),
    }
    problems = [
        Problem(name, "is a module of no distribution, so pip cannot install it", _PACKAGE)
        for name, version in required.items()
        if " " in version
    ]
    if problems:
        raise ConfigurationError("the image cannot hold all that the plan needs", problems)
    return required


_PACKAGE = "make a wheel of it, or copy it into an image of your own that begins with this one"


def read_lines(file: Path) -> list[tuple[str, str]]:
    """The requirements in a file, each with the place that it stands at.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        problem = Problem("--requirements", f"{file}: {said}")
        raise ConfigurationError("the image cannot be built", [problem]) from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        requirement = re.sub(r"(^|\s+)#.*", "", line).strip()
        if requirement:
            found.append((f"{file}, line {number}", requirement))
    return found


def checked(requirements: Sequence[tuple[str, str]]) -> list[str]:
    """Requirements that an image can hold; raises ``ConfigurationError`` that names every other."""
    problems = [
        Problem(place, *wrong) for place, text in requirements for wrong in _wrong_with(text)
    ]
    if problems:
        raise ConfigurationError("the image cannot be built", problems)
    return [text for _, text in requirements]


def _wrong_with(text: str) -> Iterator[tuple[str, str]]:
    if re.search(r"://[^/\s]*@", text):
        # What stands before the @ may be a password, so it is not repeated.
        yield "holds a user or a password, which would be in the image", "use --pip-config"
    elif text.startswith("-") or text.endswith("\\") or "\n" in text:
        remedy = "options of pip are given with --pip-config"
        yield f"expected one requirement such as 'polars>=2', found {text!r}", remedy
    elif text.startswith((".", "/", "~")) or text.endswith(".whl") or "file:" in text:
        yield f"{text!r} is on this machine, not in the image", "put its wheel into --wheels"
