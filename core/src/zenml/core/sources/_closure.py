"""The code closure of a step: everything in its source that could change its result.

It holds the step's own definition with what that reaches in its module, every further source module
that is reached by imports, and the versions of the installed distributions that those import. Code
is compared as syntax trees, so comments and formatting do not count. Nothing is imported.

In the step's own module a top-level statement counts if it binds a name that the step reaches, or
calls something on such a name (``CONFIG.update(…)``). That is what lets two steps and the pipeline
that joins them live in one script without invalidating each other. Other modules count whole.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from zenml.core._canonical import digest_of
from zenml.core.errors import SourceError
from zenml.core.sources._locate import (
    Location,
    distribution_of,
    is_installed,
    is_stdlib,
    locate,
    module_name,
)

__all__ = ["Closure", "closure_of"]

#: The core is the contract that code is written against, not part of its logic: its number is the
#: API version, so that a bug fix in it does not empty every cache.
_CORE = ("zenml.core", "zenml.pipelines", "zenml.repo", "zenml.metadata", "zenml.backends")


class Closure(msgspec.Struct, frozen=True):
    """What a step's code consists of.

    Attributes:
        modules: Module (or ``module:name`` for the step itself) to the digest of its syntax tree.
        distributions: Installed distribution to its version.
    """

    modules: dict[str, str]
    distributions: dict[str, str]

    @property
    def digest(self) -> str:
        """Names the closure by content."""
        return digest_of(self)


_cache: dict[Any, tuple[tuple[Any, ...], Closure]] = {}


def closure_of(obj: Any, name: str) -> Closure:
    """The closure of a module-level class or function.

    Args:
        obj: The class or function.
        name: Its reference, ``module:qualname``.

    Raises:
        SourceError: its source cannot be read or parsed.
    """
    module = sys.modules.get(obj.__module__)
    path = getattr(module, "__file__", None)
    if path is None or not os.path.exists(path):
        raise SourceError(
            f"the source of {name} cannot be found",
            where=str(path or obj.__module__),
            remedy="define the step in a .py file",
        )
    known = _cache.get(obj)
    if known is not None and all(_stamp(file) == stamp for file, stamp in known[0]):
        return known[1]
    walker = _Walker(path)
    closure = walker.walk(name)
    stamps = tuple((file, _stamp(file)) for file in walker.files)
    _cache[obj] = (stamps, closure)
    return closure


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return status.st_mtime_ns, status.st_size


class _Walker:
    """Follows imports from one definition."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.modules: dict[str, str] = {}
        self.distributions: dict[str, str] = {}
        self.files: set[str] = set()
        # A step of an installed distribution has a home too: its own outermost package.
        root, own = module_name(self.path)
        self.home = os.path.dirname(self.path)
        if "." in own:
            self.home = os.path.join(root, own.partition(".")[0])

    def walk(self, name: str) -> Closure:
        module, _, qualname = name.partition(":")
        tree = _parse(self.path, _stamp(self.path))
        self.files.add(self.path)
        statements = _reached(tree, qualname.partition(".")[0], self.path)
        self.modules[name] = _digest(statements)
        package = (
            module if os.path.basename(self.path) == "__init__.py" else module.rpartition(".")[0]
        )
        queue = list(_imports(statements, package))
        seen: set[str] = {module}
        while queue:
            wanted = queue.pop()
            if wanted in seen:
                continue
            seen.add(wanted)
            queue.extend(self._visit(wanted))
        return Closure(dict(sorted(self.modules.items())), dict(sorted(self.distributions.items())))

    def _visit(self, name: str) -> list[str]:
        if is_stdlib(name) or name == "zenml":
            return []
        if name in _CORE or name.startswith(tuple(f"{core}." for core in _CORE)):
            from zenml.core.plugins._specs import API_VERSION

            self.distributions["zenml-core"] = f"api {API_VERSION}"
            return []
        location = locate(name)
        if location is None:
            return []  # a name that is no module: 'from package import function'
        if self._is_source(location.path):
            for init in location.packages:
                self._add(init, follow=False)
            return self._add(location.path, follow=True)
        found = distribution_of(location)
        if found is not None:
            self.distributions[found[0]] = found[1]
        else:
            self.distributions[name.partition(".")[0]] = f"sha256 {_file_digest(location)}"
        return []

    def _is_source(self, path: str) -> bool:
        inside_home = os.path.abspath(path).startswith(self.home + os.sep)
        return path.endswith(".py") and (inside_home or not is_installed(path))

    def _add(self, path: str, *, follow: bool) -> list[str]:
        path = os.path.abspath(path)
        self.files.add(path)
        _, name = module_name(path)
        tree = _parse(path, _stamp(path))
        self.modules[name] = _digest(tree.body)
        package = name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
        return list(_imports(tree.body, package)) if follow else []


def _file_digest(location: Location) -> str:
    with open(location.path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]


@lru_cache(maxsize=512)
def _parse(path: str, _stamp: tuple[int, int]) -> ast.Module:
    try:
        with open(path, "rb") as file:
            return ast.parse(file.read(), filename=path)
    except (OSError, SyntaxError, ValueError) as error:
        raise SourceError(f"the source cannot be read: {error}", where=path) from error


# -- what a definition reaches in its own module ------------------------------------------------


def _reached(tree: ast.Module, name: str, path: str) -> list[ast.stmt]:
    """The top-level statements that bind, or act on, a name reached from ``name``."""
    statements = [part for stmt in tree.body if not _is_main_guard(stmt) for part in _parts(stmt)]
    binders: dict[str, list[int]] = {}
    for index, statement in enumerate(statements):
        for bound in _binds(statement):
            binders.setdefault(bound, []).append(index)
    if name not in binders:
        raise SourceError(
            f"'{name}' is not defined at the top level of its module",
            where=path,
            remedy="define steps with 'class' or 'def', so that their source can be found",
        )
    chosen: set[int] = set()
    names: set[str] = set()
    queue = [name]
    while queue:
        current = queue.pop()
        if current in names:
            continue
        names.add(current)
        for index in binders.get(current, ()):
            if index not in chosen:
                chosen.add(index)
                queue.extend(_loads(statements[index]))
    return [statements[index] for index in sorted(chosen)]


def _parts(statement: ast.stmt) -> list[ast.stmt]:
    """An import of several names as several imports: a step reaches only some of them."""
    if isinstance(statement, ast.Import):
        return [ast.Import(names=[alias]) for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        module, level = statement.module, statement.level
        return [ast.ImportFrom(module, [alias], level) for alias in statement.names]
    return [statement]


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )


def _is_type_checking(statement: ast.AST) -> bool:
    return isinstance(statement, ast.If) and any(
        getattr(node, "id", getattr(node, "attr", "")) == "TYPE_CHECKING"
        for node in ast.walk(statement.test)
    )


def _root_name(node: ast.AST) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _binds(statement: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement binds, changes in place, or calls something on."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
        return
    if isinstance(statement, ast.Expr):
        if isinstance(statement.value, ast.Call):
            root = _root_name(statement.value.func)
            if root and not isinstance(statement.value.func, ast.Name):
                yield root
        return
    for node in ast.walk(statement):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield (alias.asname or alias.name).partition(".")[0]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            yield node.id
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            root = _root_name(node)
            if root:
                yield root


def _loads(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            yield node.id


def _imports(statements: Iterable[ast.stmt], package: str) -> Iterator[str]:
    """Absolute names of the modules that statements import, at any depth."""
    stack: list[ast.AST] = list(statements)
    while stack:
        node = stack.pop()
        if _is_type_checking(node):
            stack.extend(node.orelse)  # type: ignore[attr-defined]
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call):
            called = (
                node.func.attr if isinstance(node.func, ast.Attribute) else _root_name(node.func)
            )
            if called in ("import_module", "__import__") and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value
        stack.extend(ast.iter_child_nodes(node))


# -- digest of a syntax tree ---------------------------------------------------------------------


def _digest(statements: Iterable[ast.stmt]) -> str:
    """A digest of syntax trees that leaves out positions and what differs by Python version.

    ``ast.dump`` spells the same source differently from one Python to the next; fields that are
    empty, and the two that only carry comments and spelling, are left out here.
    """
    hasher = hashlib.sha256()
    stack: list[Any] = list(reversed(list(statements)))
    write = hasher.update
    while stack:
        node = stack.pop()
        if isinstance(node, ast.AST):
            write(f"({type(node).__name__}".encode())
            stack.append(_END)
            for field in reversed(node._fields):
                value = getattr(node, field, None)
                # None is a value too: that of the constant None.
                constant = field == "value" and isinstance(node, ast.Constant)
                if not constant and (value is None or value == [] or field in _UNSPOKEN):
                    continue
                stack.append(value)
                stack.append(_Label(field))
        elif isinstance(node, list):
            stack.extend(reversed(node))
        elif isinstance(node, _Label):
            write(f" {node}=".encode())
        elif node is _END:
            write(b")")
        else:
            write(f"{type(node).__name__}:{node!r};".encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()


#: Fields that carry comments or spelling, or that the place of a node says already.
_UNSPOKEN = ("type_comment", "kind", "ctx")


class _Label(str):
    __slots__ = ()


_END = object()
