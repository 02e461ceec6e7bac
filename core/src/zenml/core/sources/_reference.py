"""References to module-level objects as text, ``module:name``, and loading what they name."""

from __future__ import annotations

import contextvars
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterable
from typing import Any

from zenml.core.errors import SourceError, SourceNotImportableError
from zenml.core.sources._locate import locate, module_name

__all__ = [
    "StopImport",
    "import_root",
    "load",
    "reference",
    "run_until_pipeline",
    "stop_if_importing",
]


class StopImport(BaseException):
    """Ends the import of a script at the line that would run its pipeline.

    A script that is run directly (``python train.py``) is imported again wherever a worker needs
    one of its steps. Everything above that line is defined by then, and nothing may be run twice.

    Attributes:
        wanted: The function that would have been called, as ``(pipeline, options)``.
    """

    def __init__(self, wanted: tuple[Any, dict[str, Any]]) -> None:
        super().__init__(wanted)
        self.wanted = wanted


_importing: contextvars.ContextVar[bool] = contextvars.ContextVar("importing", default=False)


def stop_if_importing(pipeline: Any, **options: Any) -> None:
    """Called first by whatever must not happen as a side effect of an import."""
    if _importing.get():
        raise StopImport((pipeline, options))


def run_until_pipeline(
    path: str, arguments: Iterable[str] = ()
) -> tuple[Any, dict[str, Any]] | None:
    """Run a script as ``python path arguments`` would, up to the line that would run a pipeline.

    Returns:
        That pipeline and the options of the call; None if the script came to its end.

    Raises:
        SourceError: there is no such file, or it is not Python.
    """
    absolute = os.path.abspath(path)
    try:
        with open(absolute, "rb") as file:
            code = compile(file.read(), absolute, "exec")
    except (OSError, SyntaxError, ValueError) as error:
        raise SourceError(f"the script cannot be read: {error}", where=path) from error
    module = types.ModuleType("__main__")
    module.__file__ = absolute
    sys.modules["__main__"] = module
    sys.path.insert(0, os.path.dirname(absolute))
    sys.argv = [path, *arguments]
    token = _importing.set(True)
    try:
        exec(code, module.__dict__)  # noqa: S102 - the user's own script, as python would run it
    except StopImport as stop:
        return stop.wanted
    finally:
        _importing.reset(token)
    return None


def _main_name() -> tuple[str, str] | None:
    """Import root and name of the script that was run, or None for a notebook or REPL."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    path = getattr(main, "__file__", None)
    if spec is not None and spec.name and path:  # python -m package.module
        name = spec.name.removesuffix(".__main__") if spec.name.endswith(".__main__") else spec.name
        root, _ = module_name(path)
        return root, spec.name if spec.name.endswith(".__main__") else name
    if path is None or not path.endswith(".py"):
        return None
    return module_name(path)


def reference(obj: Any) -> str:
    """The text that names a module-level class or function anywhere.

    Raises:
        SourceNotImportableError: it is defined in a notebook, a REPL or inside a function.
    """
    module, qualname = obj.__module__, obj.__qualname__
    if "<locals>" in qualname or "<lambda>" in qualname:
        raise SourceNotImportableError(
            f"{qualname} is defined inside a function, where no other process can find it",
            where=f"module {module}",
            remedy="move it to the top level of a module",
        )
    if module != "__main__":
        return f"{module}:{qualname}"
    found = _main_name()
    if found is None:
        raise SourceNotImportableError(
            f"{qualname} is defined in a notebook or an interactive session, "
            "where no other process can find it",
            remedy=f"save it in a file, say steps.py, and write: from steps import {qualname}",
        )
    return f"{found[1]}:{qualname}"


def import_root(obj: Any) -> str | None:
    """The folder that must be on ``sys.path`` for ``reference(obj)`` to load; None if installed."""
    module = sys.modules.get(obj.__module__)
    path = getattr(module, "__file__", None)
    return module_name(path)[0] if path else None


def load(text: str, roots: Iterable[str] = ()) -> Any:
    """Load the object that a reference names.

    Args:
        text: ``module:qualified.name``.
        roots: Folders to look in beyond ``sys.path``; they are appended to it.

    Raises:
        SourceError: there is no such module or name; says what was looked for and where.
    """
    name, _, qualname = text.partition(":")
    module = _loaded(name)
    if module is None:
        for root in roots:
            if root not in sys.path:
                sys.path.append(root)
        module = _import(name, text)
    found: Any = module
    for part in qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise SourceError(
                f"the module {name} has no '{qualname}'",
                where=getattr(module, "__file__", None) or name,
                remedy="it may stand below a line that runs a pipeline: put that line under "
                "if __name__ == '__main__':",
            ) from None
    return found


def _loaded(name: str) -> Any:
    """The module if this process has it already, also when it is the script that was run."""
    module = sys.modules.get(name)
    if module is not None:
        return module
    main = _main_name()
    return sys.modules["__main__"] if main is not None and main[1] == name else None


def _import(name: str, text: str) -> Any:
    location = locate(name)
    token = _importing.set(True)
    try:
        if location is None or name.partition(".")[0] == "zenml":
            return importlib.import_module(name)
        parent = name.rpartition(".")[0]
        if parent:
            importlib.import_module(parent)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except StopImport:
            pass  # the script reached the line that runs its pipeline: all steps are defined
        except BaseException:
            sys.modules.pop(name, None)
            raise
        return module
    except ModuleNotFoundError as error:
        raise SourceError(
            f"{text} cannot be loaded: {error}",
            where=", ".join(sys.path[:4]),
            remedy="run the command from the folder that the module is in, or install it",
        ) from error
    finally:
        _importing.reset(token)
