"""The code closure of a step: everything in its source that could change its result.

It holds the step's own definition with what that reaches in its module, every further source module
that is reached by imports, and the versions of the installed distributions that those import. Code
is compared as syntax trees, so comments and formatting do not count. Nothing is imported.

In the step's own module a top-level statement counts if it binds a name that the step reaches,
calls something on such a name (``CONFIG.update(…)``) or passes it to a call (``fill(CONFIG)``).
That is what lets two steps and the pipeline that joins them live in one script without invalidating
each other. Other modules count whole.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

import msgspec

from zenml.core._canonical import digest_of
from zenml.core.errors import SourceChangedError, SourceError
from zenml.core.sources._loader import executed, ran_old_compiled
from zenml.core.sources._locate import (
    Location,
    distribution_of,
    is_installed,
    is_stdlib,
    locate,
    module_name,
)

__all__ = ["Closure", "closure_of", "refuse_edited"]

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


#: Times and size of a file. The second time is that of its last change, which nobody can set back.
_Stamp = tuple[int, int, int]


class _Known(NamedTuple):
    """A closure, with the source modules in it and what their files were like."""

    closure: Closure
    files: dict[str, str]
    stamps: dict[str, _Stamp]


_cache: dict[Any, _Known] = {}


def closure_of(obj: Any, name: str) -> Closure:
    """The closure of a module-level class or function.

    Args:
        obj: The class or function.
        name: Its reference, ``module:qualname``.

    Raises:
        SourceError: its source cannot be read or parsed.
    """
    return _known(obj, name).closure


def refuse_edited(obj: Any, name: str) -> None:
    """Check that what this process would execute is what the closure of ``obj`` was made from.

    A closure is made from files. A session that has imported a module before the file was edited
    executes the old code, and would keep its results under the key of the new. Modules that are
    not imported yet are no matter, nor are those of which nobody knows what they were made from.

    Args:
        obj: The class or function.
        name: Its reference, ``module:qualname``.

    Raises:
        SourceChangedError: a module was edited after it was imported, in a way that counts.
        SourceError: its source cannot be read or parsed.
    """
    own, _, qualname = name.partition(":")
    for module, path in _known(obj, name).files.items():
        loaded = sys.modules.get(obj.__module__ if module == own else module)
        file = getattr(loaded, "__file__", None)
        if loaded is None or file is None or os.path.realpath(file) != os.path.realpath(path):
            continue
        source = executed(loaded)
        now = _parse(path, _stamp(path))
        if source is not None and source != now.data:
            before = ast.parse(source, filename=path)
            wanted = qualname.partition(".")[0] if module == own else None
            if _digest(_part(before, wanted, path)) != _digest(_part(now.tree, wanted, path)):
                raise SourceChangedError(
                    f"{module} was edited after it was imported: what is loaded is the old code",
                    where=path,
                    remedy="restart the session, or load it again: "
                    f"importlib.reload({loaded.__name__}), and whatever imports from it",
                )
        elif compiled := ran_old_compiled(loaded, now.data):
            raise SourceChangedError(
                f"{module} was loaded from a compiled file that is older than its source",
                where=compiled,
                remedy="remove that file, and start again; import zenml before your own modules "
                "for it not to come back",
            )


def _part(tree: ast.Module, name: str | None, path: str) -> list[ast.stmt]:
    """What counts of a module: all of it, or what a name reaches. Nothing if that is not there."""
    if name is None:
        return tree.body
    try:
        return _reached(tree, name, path)
    except SourceError:
        return []


def _known(obj: Any, name: str) -> _Known:
    module = sys.modules.get(obj.__module__)
    path = getattr(module, "__file__", None)
    if path is None or not os.path.exists(path):
        raise SourceError(
            f"the source of {name} cannot be found",
            where=str(path or obj.__module__),
            remedy="define the step in a .py file",
        )
    known = _cache.get(obj)
    if known is not None and all(_stamp(file) == stamp for file, stamp in known.stamps.items()):
        return known
    walker = _Walker(path)
    closure = walker.walk(name)
    known = _cache[obj] = _Known(closure, walker.files, walker.stamps)
    return known


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size


class _Walker:
    """Follows imports from one definition."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.modules: dict[str, str] = {}
        self.distributions: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.stamps: dict[str, _Stamp] = {}
        # A step of an installed distribution has a home too: its own outermost package.
        root, own = module_name(self.path)
        self.home = os.path.dirname(self.path)
        if "." in own:
            self.home = os.path.join(root, own.partition(".")[0])

    def walk(self, name: str) -> Closure:
        module, _, qualname = name.partition(":")
        tree = self._read(module, self.path)
        statements = _reached(tree, qualname.partition(".")[0], self.path)
        self.modules[name] = _digest(statements)
        queue = list(_imports(statements, _package(module, self.path)))
        seen: set[str] = {module}
        while queue:
            wanted = queue.pop()
            if wanted in seen:
                continue
            seen.add(wanted)
            queue.extend(self._visit(wanted))
        return Closure(dict(sorted(self.modules.items())), dict(sorted(self.distributions.items())))

    def _visit(self, name: str) -> list[str]:
        if name == "zenml" or is_stdlib(name):
            return []
        if name in _CORE or name.startswith(tuple(f"{core}." for core in _CORE)):
            from zenml.core.plugins._specs import API_VERSION

            self.distributions["zenml-core"] = f"api {API_VERSION}"
            return []
        location = locate(name)
        if location is None:
            return []  # a name that is no module: 'from package import function'
        if self._is_source(location.path):
            for package, init in location.packages:
                if self._is_source(init):
                    self._add(package, init)
            return [*self._add(name, location.path)]
        found = distribution_of(location)
        if found is not None:
            self.distributions[found[0]] = found[1]
        else:
            self.distributions[name] = f"sha256 {_file_digest(location)}"
        return []

    def _is_source(self, path: str) -> bool:
        inside_home = os.path.abspath(path).startswith(self.home + os.sep)
        return path.endswith(".py") and (inside_home or not is_installed(path))

    def _add(self, name: str, path: str) -> tuple[str, ...]:
        """Take a whole module in; returns what it imports."""
        path = os.path.abspath(path)
        self.modules[name], imported = _whole(path, self._seen(name, path), _package(name, path))
        return imported

    def _read(self, name: str, path: str) -> ast.Module:
        return _parse(path, self._seen(name, path)).tree

    def _seen(self, name: str, path: str) -> _Stamp:
        self.files[name] = path
        self.stamps[path] = stamp = _stamp(path)  # before it is read: an edit is seen next time
        return stamp


def _package(module: str, path: str) -> str:
    """What relative imports in a module are relative to."""
    return module if os.path.basename(path) == "__init__.py" else module.rpartition(".")[0]


def _file_digest(location: Location) -> str:
    with open(location.path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]


class _Source(NamedTuple):
    data: bytes
    tree: ast.Module


@lru_cache(maxsize=512)
def _parse(path: str, _stamp: _Stamp) -> _Source:
    try:
        with open(path, "rb") as file:
            data = file.read()
        return _Source(data, ast.parse(data, filename=path))
    except (OSError, SyntaxError, ValueError) as error:
        raise SourceError(f"the source cannot be read: {error}", where=path) from error


@lru_cache(maxsize=2048)
def _whole(path: str, stamp: _Stamp, package: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a module, and what it imports: many steps reach the same ones."""
    body = _parse(path, stamp).tree.body
    return _digest(body), tuple(_imports(body, package))


# -- what a definition reaches in its own module ------------------------------------------------


def _reached(tree: ast.Module, name: str, path: str) -> list[ast.stmt]:
    """The top-level statements that bind, or act on, a name reached from ``name``."""
    statements = [part for statement in tree.body for part in _parts(statement)]
    binders: dict[str, list[int]] = {}
    guarded: dict[str, list[int]] = {}
    for index, statement in enumerate(statements):
        found = guarded if _is_main_guard(statement) else binders
        for bound in _binds(statement):
            found.setdefault(bound, []).append(index)
    if name not in binders:
        raise SourceError(
            f"'{name}' is not defined at the top level of its module",
            where=path,
            remedy="define steps with 'class' or 'def', so that their source can be found",
        )
    chosen: set[int] = set()
    names: set[str] = set()
    queue = [name, _STAR]
    while queue:
        current = queue.pop()
        if current in names:
            continue
        names.add(current)
        # What only a run of the script binds counts for a step that reads it all the same.
        for index in binders.get(current) or guarded.get(current) or ():
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
    """Whether the body of an ``if`` is for type checkers only."""
    return (
        isinstance(statement, ast.If)
        and isinstance(statement.test, (ast.Name, ast.Attribute))
        and getattr(statement.test, "id", getattr(statement.test, "attr", "")) == "TYPE_CHECKING"
    )


def _root_name(node: ast.AST, *, through_calls: bool = True) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)) or (
        through_calls and isinstance(node, ast.Call)
    ):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


#: Stands for the names that ``from module import *`` binds: any.
_STAR = "*"


def _binds(statement: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement binds, changes in place, or calls something on."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
        for node in ast.walk(statement):
            if isinstance(node, ast.Global):
                yield from node.names
        return
    for node in ast.walk(statement):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield (alias.asname or alias.name).partition(".")[0]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            yield node.id
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(
            node.ctx, (ast.Store, ast.Del)
        ):
            yield from _named(_root_name(node))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _changed_by(node.value)


def _changed_by(call: ast.Call) -> Iterator[str]:
    """Names that a call made for its effect may change: its object, and its plain arguments.

    An argument that is itself a call is a new object: ``pipeline.add_step(trim())`` is not about
    ``trim``.
    """
    if not isinstance(call.func, ast.Name):
        yield from _named(_root_name(call.func))
    for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
        yield from _named(_root_name(argument, through_calls=False))


def _named(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


_Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def _loads(statement: ast.stmt) -> Iterator[str]:
    """Names of the module that a statement uses: a function's own variables are not among them.

    A name that is left out wrongly would hide a change, so where Python's rules of scope are
    intricate (bodies of classes) a name is rather given once too often.
    """
    stack: list[tuple[ast.AST, frozenset[str]]] = [(statement, frozenset())]
    while stack:
        node, hidden = stack.pop()
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Name):
            if node.id not in hidden:
                yield node.id
        elif isinstance(node, _Function):
            body = node.body if isinstance(node.body, list) else [node.body]
            inside = {id(child) for child in body}
            local, foreign = _own_names(node.args, body)
            inner = (hidden | local) - foreign
            stack += ((child, inner if id(child) in inside else hidden) for child in children)
        elif isinstance(node, _Comprehension):
            first = node.generators[0].iter
            targets = {
                name.id
                for generator in node.generators
                for name in ast.walk(generator.target)
                if isinstance(name, ast.Name)
            }
            stack += ((child, hidden | targets) for child in children)
            stack.append((first, hidden))  # it is evaluated outside
        elif isinstance(node, ast.ClassDef):
            for child in children:
                # What a class assigns to is its attribute, not a name of the module.
                assigns = isinstance(child, (ast.Assign, ast.AnnAssign))
                parts = ast.iter_child_nodes(child) if assigns else [child]
                stack += ((part, hidden) for part in parts if not (assigns and _is_target(part)))
        else:
            stack += ((child, hidden) for child in children)


def _is_target(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _own_names(arguments: ast.arguments, body: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    """A function's own variables, and those that it declares to be the module's."""
    local = {node.arg for node in ast.walk(arguments) if isinstance(node, ast.arg)}
    foreign: set[str] = set()
    stack = list(body)
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            local.add(node.name)
            continue
        if isinstance(node, (ast.Lambda, *_Comprehension)):
            continue
        if isinstance(node, ast.Global):
            foreign.update(node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            local.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, (ast.Store, ast.Del)):
                local.add(node.id)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            local.update(_named(node.name))
        elif isinstance(node, ast.MatchMapping):
            local.update(_named(node.rest))
        stack.extend(ast.iter_child_nodes(node))
    return local, foreign


def _imports(statements: Iterable[ast.stmt], package: str) -> Iterator[str]:
    """Absolute names of the modules that statements import, at any depth."""
    stack: list[ast.AST] = list(statements)
    while stack:
        node = stack.pop()
        if _is_type_checking(node):
            stack.extend(node.orelse)  # type: ignore[attr-defined]
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                if alias.asname is None:  # it binds the outermost package: all of them are at hand
                    parts = alias.name.split(".")
                    yield from (".".join(parts[:end]) for end in range(1, len(parts)))
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
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
                    yield _absolute(first.value, package)
        stack.extend(ast.iter_child_nodes(node))


def _absolute(name: str, package: str) -> str:
    """The absolute name of a module that an import names, perhaps with leading dots."""
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    parents = package.split(".")
    kept = parents[: len(parents) - level + 1]
    return ".".join(part for part in [*kept, name[level:]] if part)


# -- digest of a syntax tree ---------------------------------------------------------------------


def _digest(statements: Iterable[ast.stmt]) -> str:
    """A digest of syntax trees that leaves out positions and what differs by Python version.

    ``ast.dump`` spells the same source differently from one Python to the next; fields that are
    empty, and the two that only carry comments and spelling, are left out here.
    """
    written: list[bytes] = []  # hashed at once: a call for each piece would take longer
    write = written.append
    stack: list[Any] = list(statements)
    stack.reverse()
    while stack:
        node = stack.pop()
        kind: Any = type(node)
        if kind is bytes:  # spelt already
            write(node)
        elif kind is list:
            stack.extend(reversed(node))
        elif kind is ast.Constant:  # its value may be None, or bytes
            write(b"(Constant value=%b)" % _spelt(node.value))
        elif isinstance(node, ast.AST):
            opening, fields = _form(kind)
            write(opening)
            stack.append(b")")
            for field, label in fields:
                value = getattr(node, field, None)
                if kind is ast.JoinedStr:  # Python 3.12 adds empty pieces to some
                    value = [piece for piece in value or () if getattr(piece, "value", 0) != ""]
                if value is None or value == []:
                    continue
                stack.append(value)
                stack.append(label)
        else:
            write(_spelt(node))
    return hashlib.sha256(b"".join(written)).hexdigest()


def _spelt(value: Any) -> bytes:
    """A name, or the value of a constant."""
    if isinstance(value, str):
        # Not its repr(): which characters that escapes depends on the version of Unicode.
        text = value.encode("utf-8", "surrogatepass")
        return b"str:%d:%b;" % (len(text), text)
    return f"{type(value).__name__}:{value!r};".encode()


@cache
def _form(kind: type[ast.AST]) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """How a node begins; its fields from the last to the first, and how each is announced."""
    fields = [field for field in reversed(kind._fields) if field not in _UNSPOKEN]
    return f"({kind.__name__}".encode(), tuple((name, f" {name}=".encode()) for name in fields)


#: Fields that carry comments or spelling, or that the place of a node says already.
_UNSPOKEN = ("type_comment", "kind", "ctx")
