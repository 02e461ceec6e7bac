"""Imports point one way: a plugin to the core and to what it declares, the core to no plugin."""

from __future__ import annotations

import ast
import re
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.packaging.conftest import Distribution


def _imported(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that a module imports, at its top or further in."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _imports(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """Every import in the source of a distribution: where it stands, and the name it asks for."""
    for file in sorted(distribution.source.rglob("*.py")):
        parts = file.relative_to(distribution.source).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        for line, name in _imported(tree, module, is_package=is_package):
            yield f"{'/'.join(parts)}.py:{line}", name


def _owner(name: str, distributions: tuple[Distribution, ...]) -> Distribution | None:
    """The distribution that a name below ``zenml`` comes from."""
    parts = name.split(".")
    if parts[0] != "zenml" or len(parts) == 1:
        return None
    return next((one for one in distributions if parts[1] in one.packages), None)


def test_the_table_of_distributions_is_complete(
    distributions: tuple[Distribution, ...], root: Path
) -> None:
    folders = {root / "core", *(file.parent for file in root.glob("plugins/*/pyproject.toml"))}

    assert {one.folder for one in distributions} == folders
    for one in distributions:
        assert {path.name for path in (one.source / "zenml").iterdir()} == one.packages, one.name


def test_everything_imported_from_zenml_is_its_own_or_declared(
    distribution: Distribution, distributions: tuple[Distribution, ...]
) -> None:
    # The core declares none of the others, so this also says that it imports no plugin.
    allowed = {distribution.name, *distribution.requires}

    strays = [
        f"{where}: {name}"
        for where, name in _imports(distribution)
        if name.split(".")[0] == "zenml"
        and ((owner := _owner(name, distributions)) is None or owner.name not in allowed)
    ]

    assert strays == []


def test_the_core_names_no_plugin_in_code(distributions: tuple[Distribution, ...]) -> None:
    core, *plugins = distributions
    names = "|".join(sorted(name for plugin in plugins for name in plugin.packages))
    module = re.compile(rf"zenml\.(?:{names})(?![\w-])[\w.:]*")

    # A whole string that is a module's name is one that code can import; prose may mention it.
    named = [
        f"{file.relative_to(core.source)}:{node.lineno}: {node.value}"
        for file in sorted(core.source.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and module.fullmatch(node.value)
    ]

    assert named == []


def test_only_public_names_are_imported_from_another_distribution(
    distribution: Distribution, distributions: tuple[Distribution, ...]
) -> None:
    private = [
        f"{where}: {name}"
        for where, name in _imports(distribution)
        if _owner(name, distributions) not in (None, distribution)
        and any(part.startswith("_") for part in name.split("."))
    ]

    assert private == []


def test_the_module_that_registers_a_plugin_is_light(distribution: Distribution) -> None:
    # It is imported whenever backends are listed, so it may cost no more than the core does.
    settings = (distribution.folder / "pyproject.toml").read_text(encoding="utf-8")
    _, found, section = settings.partition('[project.entry-points."zenml.plugins"]\n')
    assert found, f"{distribution.name} registers no plugin"
    modules = re.findall(r'= "([\w.]+)"', section.partition("\n\n")[0])

    heavy = [
        f"{where}: {name}"
        for where, name in _imports(distribution)
        if where.partition(":")[0].removesuffix(".py").replace("/", ".") in modules
        and name.split(".")[0] not in sys.stdlib_module_names | {"pluggy"}
        and name.split(".")[:2] != ["zenml", "core"]
    ]

    assert heavy == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import zenml.local.plugin", "zenml.local.plugin"),
        ("from zenml import local", "zenml.local"),
        ("def later():\n    from zenml.local import plugin", "zenml.local.plugin"),
        ("from . import b", "zenml.core.plan.b"),
        ("from .b import c", "zenml.core.plan.b.c"),
        ("from ..engine import run", "zenml.core.engine.run"),
    ],
)
def test_every_way_to_import_is_seen(statement: str, expected: str) -> None:
    found = _imported(ast.parse(statement), "zenml.core.plan.a", is_package=False)

    assert [name for _, name in found] == [expected]
