"""Imports point one way: a plugin to the core and to what it declares, the core to no plugin."""

from __future__ import annotations

import ast
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tests.packaging.conftest import Distribution

#: What names of zenml-core begin with.
PREFIXES = (
    "_zenml_",
    *(f"zenml.{package}" for package in ("backends", "core", "metadata", "pipelines", "repo")),
)

#: Where the core names a plugin all the same: file and text.
NAMED = {
    # Help for whoever has installed nothing but the core. It is printed, and nothing is done by it.
    *(
        (
            f"zenml/core/cli/{file}.py",
            "no backend is installed; pip install zenml-local gives the defaults",
        )
        for file in ("_backends", "_doctor")
    ),
}


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


def _modules(folder: Path) -> Iterator[tuple[str, str, bool, ast.Module]]:
    """Path, name and syntax tree of every module in a folder, and whether it is a package."""
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        yield f"{'/'.join(parts)}.py", module, is_package, tree


def _imports(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """Every import in the source of a distribution: where it stands, and the name it asks for."""
    for path, module, is_package, tree in _modules(distribution.source):
        for line, name in _imported(tree, module, is_package=is_package):
            yield f"{path}:{line}", name


def _asked_of_modules(tree: ast.Module, modules: Collection[str]) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every attribute that is asked of one of these modules."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            # `import a.b` binds `a`, from which the attribute chain leads on.
            bound.update({a.asname or a.name.partition(".")[0]: "" for a in node.names})
            bound.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                if (name := f"{node.module}.{alias.name}") in modules:
                    bound[alias.asname or alias.name] = name
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        chain = ast.unparse(node)
        root, _, rest = chain.partition(".")
        if root in bound and all(part.isidentifier() for part in rest.split(".")):
            yield node.lineno, f"{bound[root] or root}.{rest}"


def _is_public(name: str, public_api: dict[str, set[str] | None]) -> bool:
    """Whether an absolute name is a public module, a way to one, or a public name of one."""
    if any(module == name or module.startswith(f"{name}.") for module in public_api):
        return True
    # An attribute of a public name is that name's own affair, so the shortest module decides.
    parts = name.split(".")
    for end in range(1, len(parts)):
        module, following = ".".join(parts[:end]), parts[end]
        if module in public_api and ".".join(parts[: end + 1]) not in public_api:
            names = public_api[module]
            dunder = following.startswith("__") and following.endswith("__")
            listed = not following.startswith("_") if names is None else following in names
            return dunder or listed
    return False


def _strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Every string in a module that is no docstring."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node


def _not_public(
    path: str, module: str, tree: ast.Module, public_api: dict[str, set[str] | None]
) -> list[str]:
    """What a module asks of zenml-core and is not promised."""
    wanted = [*_imported(tree, module, is_package=False), *_asked_of_modules(tree, public_api)]
    return [
        f"{path}:{line}: {name}"
        for line, name in wanted
        if name.startswith(PREFIXES) and not _is_public(name, public_api)
    ]


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
    packages = "|".join(sorted(name for plugin in plugins for name in plugin.packages))
    module = re.compile(rf"zenml\.(?:{packages})(?![\w-])[\w.:]*")
    known = json.loads((core.source / "zenml/core/plugins/known.json").read_text(encoding="utf-8"))
    names = {row["distribution"] for row in known} | {plugin.name for plugin in plugins}
    distribution = re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(names))})(?![\w-])")

    # A whole string that is a module's name is one that code can import; prose may mention it. A
    # distribution's name is data: where something is to be installed, known.json says what.
    named = {
        (path, node.value)
        for path, _, _, tree in _modules(core.source)
        for node in _strings(tree)
        if module.fullmatch(node.value) or distribution.search(node.value)
    }

    assert named == NAMED


@pytest.mark.parametrize("folder", ["src", "tests"])
def test_plugins_use_only_what_the_core_promises(
    folder: str, distributions: tuple[Distribution, ...], public_api: dict[str, set[str] | None]
) -> None:
    _, *plugins = distributions

    assert [
        f"{plugin}: {one}"
        for plugin in plugins
        for path, module, _, tree in _modules(plugin.folder / folder)
        for one in _not_public(path, module, tree, public_api)
    ] == []


def test_examples_use_only_what_the_core_promises(
    root: Path, public_api: dict[str, set[str] | None]
) -> None:
    scripts = list(_modules(root / "examples"))

    assert scripts
    assert [
        one
        for path, module, _, tree in scripts
        for one in _not_public(path, module, tree, public_api)
    ] == []


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


@pytest.mark.parametrize(
    "line",
    [
        "from zenml.core.contracts import Step",
        "from zenml.core import contracts",
        "from zenml.core import nothing_of_that_name",
        "from zenml.core.errors import _rebuild",
        "from zenml.core.plugins import _registry",
        "from zenml.core.plugins._registry import get_registry",
        "from zenml.core.testing import _processes",
        "import zenml.core.engine",
        "import zenml.core.stores as stores",
        "def later():\n    from zenml.core.sources import load",
        "import zenml.core\nzenml.core._canonical",
        "import zenml.core.errors\nzenml.core.engine.launch",
        "import zenml.core as core\ncore.engine.launch()",
        "from zenml import core\ncore._canonical.sha256(b'')",
        "from zenml.core import errors\nerrors._rebuild",
        "from zenml.core import *",
        "import _zenml_main",
    ],
)
def test_asking_for_what_is_not_public_is_seen(
    line: str, public_api: dict[str, set[str] | None]
) -> None:
    assert _not_public("acme.py", "acme", ast.parse(line), public_api)


@pytest.mark.parametrize(
    "line",
    [
        "from zenml.core import Step, errors",
        "from zenml.core.errors import Problem",
        "from zenml.core.testing import wait_until",
        "from zenml.backends.orchestrator import OrchestratorLocalBackend",
        "import zenml.core\nzenml.core.Step.run",
        "import zenml.core.errors\nzenml.core.errors.DataError",
        "from zenml.core import errors\nerrors.__name__, errors.DataError._private",
        "import zenml.pipelines as p\np.Pipeline('x').run",
        "core = make()\ncore._canonical",
    ],
)
def test_asking_for_what_is_public_is_allowed(
    line: str, public_api: dict[str, set[str] | None]
) -> None:
    assert _not_public("acme.py", "acme", ast.parse(line), public_api) == []


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
