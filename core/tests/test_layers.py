"""Imports inside the core point one way, from what people use to what everything is made of."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import zenml.core

CORE = Path(zenml.core.__file__).parent
ZENML = CORE.parent

#: Packages and modules from the bottom to the top; a layer may import itself and what is below it.
LAYERS = [
    {
        "zenml.core.errors",
        "zenml.core._canonical",
        "zenml.core.lazy",
        "zenml.core._yaml",
        "zenml.core._clock",
        "zenml.core._tracebacks",
    },
    {"zenml.core.contracts"},
    {"zenml.core._project", "zenml.core._secrets", "zenml.core.sources"},
    {"zenml.core.plugins", "zenml.core.stores"},
    {"zenml.core._backends", "zenml.core.backends"},
    {"zenml.core.plan"},
    {"zenml.core.bundle"},
    {"zenml.core.image"},
    {"zenml.core.jobs"},
    {"zenml.core.engine"},
    {"zenml.core.runner"},
    {"zenml.metadata"},
    {"zenml.repo"},
    {"zenml.pipelines", "zenml.backends"},
    {"zenml.core.cli", "zenml.core.testing"},
]

#: Upward imports inside functions, each with its reason.
ALLOWED = {
    # An input at the bottom, asked of the top: the API number that stands for the core's version.
    ("zenml.core.sources", "zenml.core.plugins"),
    # A display for whoever sits at a terminal; the engine itself prints nothing.
    ("zenml.core.engine", "zenml.core.cli"),
}


def layer_of(module: str) -> int | None:
    for number, layer in enumerate(LAYERS):
        if any(module == name or module.startswith(f"{name}.") for name in layer):
            return number
    return None


def member_of(module: str) -> str:
    return max(
        (name for layer in LAYERS for name in layer if f"{module}.".startswith(f"{name}.")), key=len
    )


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in ("core", "pipelines", "repo", "metadata", "backends"):
        for path in sorted((ZENML / package).rglob("*.py")):
            parts = path.relative_to(ZENML).with_suffix("").parts
            name = ".".join(("zenml", *parts)).removesuffix(".__init__")
            found.append((name, path))
    return found


@pytest.mark.parametrize(("name", "path"), modules(), ids=str)
def test_a_module_imports_only_its_own_layer_and_those_below(name: str, path: Path) -> None:
    if name == "zenml.core":  # it offers names of every layer, and imports them when they are used
        return
    mine = layer_of(name)
    assert mine is not None, f"{name} stands in no layer"
    upward = []
    for wanted, line in imports(path):
        theirs = layer_of(wanted)
        if theirs is None or theirs <= mine:
            continue
        if (member_of(name), member_of(wanted)) not in ALLOWED:
            upward.append(f"line {line}: {wanted}")
    assert not upward
