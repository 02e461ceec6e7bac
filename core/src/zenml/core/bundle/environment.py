"""The environment that a plan needs, compared with the one that is here. Imports none of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import NamedTuple

from zenml.core.contracts._backend import BackendConfig, BackendKind
from zenml.core.errors import ConfigurationError, Problem
from zenml.core.plan._model import Plan
from zenml.core.plugins import API_VERSION
from zenml.core.plugins._entry_points import normalise
from zenml.core.plugins._registry import Registry, get_registry
from zenml.core.sources._locate import is_importable

__all__ = [
    "Mismatch",
    "check_environment",
    "mismatch_report",
    "refuse_mismatches",
    "required_distributions",
]

_API = "api "
_CONTENT = "sha256 "
_CORE = "zenml-core"

#: Rows that a report shows, and names that one command to copy may have.
_SHOWN = 15


class Mismatch(NamedTuple):
    """A distribution that is not here as the plan needs it.

    Attributes:
        name: The distribution.
        wanted: The version that the plan was made with; ``api N`` for the core.
        found: The version that is here; None if it is not installed.
        remedy: What to do about it.
    """

    name: str
    wanted: str
    found: str | None
    remedy: str


def required_distributions(
    plan: Plan,
    registry: Registry | None = None,
    *,
    backends: bool = True,
    orchestrator: bool = False,
) -> dict[str, str]:
    """The distributions that executing a plan needs, and their versions here.

    Args:
        plan: The plan. Its code closures name what the steps import.
        registry: Where the steps' backends are looked up; the process's own, if None.
        backends: Whether the steps' backends are needed too. They are not where a step's own job
            runs: that is where its backend sends it to.
        orchestrator: Whether the plan's orchestrator is needed too. It is not where it sends the
            plan to: there the engine executes the plan itself.

    Raises:
        BackendError: a backend of the plan is not installed, or cannot be used.
    """
    registry = registry or get_registry()
    needed = {_CORE: f"{_API}{API_VERSION}"}
    for closure in plan.code.values():
        needed.update(closure.distributions)
    used = set(_backends(plan, orchestrator=orchestrator)) if backends else set()
    for kind, name in sorted(used):
        plugin = registry.find(kind, name).plugin
        distribution = normalise(plugin.distribution)
        if plugin.version and distribution not in needed:
            needed[distribution] = plugin.version
    return dict(sorted(needed.items()))


def _backends(plan: Plan, *, orchestrator: bool) -> Iterator[tuple[BackendKind, str]]:
    used: list[tuple[str, BackendConfig]] = [
        (step.kind, step.backend) for step in plan.steps.values()
    ]
    if orchestrator:
        used.append(("orchestrator", plan.orchestrator))
    for kind, config in used:
        # One that no plugin offers is in the user's own code, and travels with that.
        if not config.type.startswith("import:"):
            yield kind, config.type  # type: ignore[misc]


def check_environment(required: Mapping[str, str]) -> list[Mismatch]:
    """What is missing here, or here in another version, by name.

    Reads the metadata of installed distributions, and imports none.

    Args:
        required: What ``required_distributions`` gave where the plan was made.
    """
    return [
        mismatch
        for name, wanted in sorted(required.items())
        if (mismatch := _compare(name, wanted)) is not None
    ]


def refuse_mismatches(required: Mapping[str, str]) -> None:
    """Raise ``ConfigurationError`` if ``check_environment`` finds anything."""
    found = check_environment(required)
    if found:
        raise ConfigurationError(
            "this environment is not the one that the plan was made in",
            [
                Problem(one.name, f"expected {one.wanted}, found {one.found}", one.remedy)
                for one in found
            ],
        )


def _compare(name: str, wanted: str) -> Mismatch | None:
    if wanted.startswith(_API):
        found = f"{_API}{API_VERSION}"
        if wanted == found:
            return None
        installed = _version(name)
        remedy = f"install the {name} that the plan was made with (here is {installed})"
        return Mismatch(name, wanted, found, remedy)
    if wanted.startswith(_CONTENT):
        # A compiled module of no distribution: there is no version to compare, only a name.
        if is_importable(name):
            return None
        return Mismatch(name, wanted[:20], None, f"put the module {name} on the path")
    version = _version(name)
    if version is not None and _same(version, wanted):
        return None
    return Mismatch(name, wanted, version, f"pip install '{name}=={wanted}'")


def mismatch_report(mismatches: Sequence[Mismatch]) -> str:
    """Mismatches as text that fits a screen; empty if there are none."""
    if not mismatches:
        return ""
    count = len(mismatches)
    differ = "distributions differ" if count > 1 else "distribution differs"
    lines = [f"this environment is not the one that the plan was made in: {count} {differ}"]
    shown = mismatches[:_SHOWN]
    widths = [max(len(row[column] or "nothing") for row in shown) for column in (0, 1)]
    for name, wanted, found, _ in shown:
        row = f"  {name:<{widths[0]}}  wanted {wanted:<{widths[1]}}  found {found or 'nothing'}"
        lines.append(row)
    if count > _SHOWN:
        lines.append(f"  … and {count - _SHOWN} more")
    pinned = [f"'{row.name}=={row.wanted}'" for row in shown if row.remedy.startswith("pip ")]
    if pinned:
        lines.append(f"  what to do: pip install {' '.join(pinned)}")
    lines += [f"  what to do: {row.remedy}" for row in shown if not row.remedy.startswith("pip ")]
    return "\n".join(lines)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _same(one: str, other: str) -> bool:
    # A closure takes the version from the name of a folder, where "-" is spelled "_".
    return one == other or normalise(one) == normalise(other)
