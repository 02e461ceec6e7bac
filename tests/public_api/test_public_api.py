"""The public interface is what docs/public-api.md lists, and changes only where somebody sees it.

`signatures/` holds every signature as it is written in the source, so it is the same on every
version of Python. After a change that is meant::

    python -m pytest tests/public_api --write-public-api
"""

from __future__ import annotations

import ast
import builtins
import difflib
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

SIGNATURES = Path(__file__).with_name("signatures")
COMMAND = "python -m pytest tests/public_api --write-public-api"

#: Methods that are part of how an object is used, although their names are Python's.
SPECIAL = {"__call__", "__getitem__", "__init__", "__new__"}

#: Decorators that say how a thing is used; the others say how it works.
TAGS = {"abstractmethod", "classmethod", "overload", "property", "staticmethod"}

Function = ast.FunctionDef | ast.AsyncFunctionDef

#: The module that defines a name, and the name.
Place = tuple[str, str]


# -- reading the source ------------------------------------------------------------------------


@cache
def source_of(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, module
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"), filename=spec.origin)


def exported(module: str) -> list[str]:
    """A module's ``__all__``: for a type checker, which is what a lazy module shows it."""
    for node in ast.walk(source_of(module)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{module} says nothing of what it exports")


@cache
def definitions(module: str, name: str) -> tuple[str, tuple[ast.stmt, ...]]:
    """Where a name is defined, however often it was imported on the way, and what defines it."""
    tree = source_of(module)
    found: list[ast.stmt] = [
        node
        for node in tree.body
        if (isinstance(node, (ast.ClassDef, Function)) and node.name == name)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name)
        or (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name)
    ]
    if found:
        return module, tuple(found)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    ours = node.module.startswith("zenml.")
                    return definitions(node.module, alias.name) if ours else (node.module, ())
    raise AssertionError(f"{module}.{name} is defined nowhere")


# -- writing signatures down -------------------------------------------------------------------


def signature(node: Function) -> str:
    decorators = (ast.unparse(one).removeprefix("cached_") for one in node.decorator_list)
    tags = "".join(f"@{tag} " for tag in decorators if tag in TAGS)
    before = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{tags}{before} {node.name}({ast.unparse(node.args)}){returns}"


def set_by(init: Function) -> Iterator[str]:
    """What ``__init__`` leaves on the object."""
    for node in ast.walk(init):
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            for part in map(ast.unparse, parts):
                if part.startswith("self.") and part[5:].isidentifier() and part[5] != "_":
                    yield part


def fields(node: ast.ClassDef) -> Iterator[str]:
    """Class attributes in their order, which positional arguments follow."""
    for item in node.body:
        if isinstance(item, (ast.AnnAssign, ast.Assign)):
            target = item.target if isinstance(item, ast.AnnAssign) else item.targets[0]
            if not ast.unparse(target).startswith("_"):
                yield ast.unparse(item)


def methods(node: ast.ClassDef) -> Iterator[str]:
    """Methods by name, and what ``__init__`` sets."""
    found = [item for item in node.body if isinstance(item, Function)]
    for item in sorted(found, key=lambda item: item.name):
        # The cases of a suite are called by nobody but pytest, and their number grows.
        if item.name in SPECIAL or not item.name.startswith(("_", "test_")):
            yield signature(item)
        if item.name == "__init__":
            yield from sorted(set(set_by(item)))


def private_bases(module: str, node: ast.ClassDef, public: set[Place]) -> Iterator[Place]:
    """Bases of ours that no module exports: what they give is nowhere else written down."""
    for base in node.bases:
        if isinstance(base, ast.Name) and not hasattr(builtins, base.id):
            place = definitions(module, base.id)[0], base.id
            if place[0].startswith("zenml.") and place not in public:
                yield place


def members(module: str, node: ast.ClassDef, public: set[Place]) -> Iterator[str]:
    for where, name in private_bases(module, node, public):
        for found in definitions(where, name)[1]:
            if isinstance(found, ast.ClassDef):
                yield from members(where, found, public)
    yield from fields(node)
    yield from methods(node)


def described(module: str, name: str, public: set[Place]) -> Iterator[str]:
    """Lines of the snapshot for one name."""
    where, found = definitions(module, name)
    for node in found:
        if isinstance(node, Function):
            yield signature(node)
        elif isinstance(node, ast.ClassDef):
            bases = ", ".join(map(ast.unparse, [*node.bases, *node.keywords]))
            yield f"class {name}({bases})" if bases else f"class {name}"
            yield from (f"    {line}" for line in members(where, node, public))
        else:
            yield ast.unparse(node)


def rendered(module: str, public_api: dict[str, set[str] | None]) -> str:
    """All that a module exports. A thing that several export is described where it comes first."""
    known: dict[Place, str] = {}
    for other in sorted({*(one for one, names in public_api.items() if names), module}):
        for name in exported(other):
            known.setdefault((definitions(other, name)[0], name), other)
    blocks = []
    for name in sorted(exported(module)):
        first = known[definitions(module, name)[0], name]
        lines = described(module, name, set(known)) if first == module else [f"{name}: see {first}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def exported_hooks() -> Iterator[str]:
    for node in source_of("zenml.core.plugins.hookspecs").body:
        if isinstance(node, Function):
            yield node.name


def has_own_names(module: str) -> bool:
    """Whether the module has names of its own: the others offer what is installed."""
    return hasattr(importlib.import_module(module), "__all__")


# -- the tests ---------------------------------------------------------------------------------


def test_each_module_exports_exactly_the_names_that_are_documented(public_api):
    listed = {module: names for module, names in public_api.items() if names is not None}

    assert listed, "docs/public-api.md lists nothing"
    assert {module: set(exported(module)) for module in listed} == listed


def test_only_modules_that_offer_what_is_installed_and_the_kit_are_listed_as_a_whole(public_api):
    whole = {module for module, names in public_api.items() if names is None}

    assert {module for module in whole if has_own_names(module)} == {"zenml.core.testing"}


def test_every_hook_is_documented_and_no_other(document):
    hooks = {name for name in exported_hooks() if name.startswith("zenml_")}

    assert hooks == {word for word in document.split("`") if word.startswith("zenml_")}


def test_a_public_module_has_a_public_name_and_says_what_it_is(public_module):
    assert not any(part.startswith("_") for part in public_module.split("."))
    assert importlib.import_module(public_module).__doc__


def test_the_export_list_is_sorted_and_the_same_for_a_type_checker(public_module):
    if not has_own_names(public_module):
        names = dir(importlib.import_module(public_module))
        assert names == sorted(names)
        return

    names = importlib.import_module(public_module).__all__

    assert list(names) == sorted(names) == exported(public_module)


def test_every_name_can_be_had_and_says_what_it_is(public_module):
    module = importlib.import_module(public_module)
    values = {name: getattr(module, name) for name in getattr(module, "__all__", dir(module))}

    # A constant or an alias has nowhere to keep a docstring; its line is in the document.
    able = {n: v for n, v in values.items() if isinstance(v, type) or inspect.isroutine(v)}
    assert [name for name, value in able.items() if not (value.__doc__ or "").strip()] == []


def test_no_signature_changes_unseen(public_module, public_api, pytestconfig):
    file = SIGNATURES / f"{public_module}.txt"
    now = rendered(public_module, public_api) if has_own_names(public_module) else ""
    if pytestconfig.getoption("--write-public-api"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(now, encoding="utf-8") if now else file.unlink(missing_ok=True)
    before = file.read_text(encoding="utf-8") if file.exists() else ""

    if now != before:
        lines = before.splitlines(), now.splitlines()
        difference = "\n".join(difflib.unified_diff(*lines, "promised", "now", lineterm="", n=2))
        how = f"If docs/public-api.md allows it, write it down:\n    {COMMAND}"
        message = f"the public interface of {public_module} has changed:\n\n{difference}\n\n{how}"
        pytest.fail(message, pytrace=False)


def test_no_signatures_are_kept_of_what_is_not_public(public_api):
    assert {file.stem for file in SIGNATURES.iterdir()} <= set(public_api)
