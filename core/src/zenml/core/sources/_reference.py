"""References to module-level objects as text, ``module:name``, and loading what they name."""

from __future__ import annotations

import contextvars
import importlib
import importlib.util
import os
import sys
import threading
import traceback
import types
from collections.abc import Iterable
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from zenml.core.errors import SourceError, SourceNotImportableError
from zenml.core.sources._loader import UserModuleLoader, remember
from zenml.core.sources._locate import is_installed, locate, module_name

__all__ = [
    "StopImport",
    "import_roots",
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


#: Held while a module is looked for and imported: another thread must not see half of it.
_alone = threading.RLock()

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
            source = file.read()
        # dont_inherit: the script must not get the future imports of this file.
        code = compile(source, absolute, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise SourceError(f"the script cannot be read: {error}", where=path) from error
    module = types.ModuleType("__main__")
    module.__file__ = absolute
    remember(module, source)
    sys.modules["__main__"] = module
    sys.path.insert(0, os.path.dirname(absolute))
    sys.argv = [path, *arguments]
    token = _importing.set(True)
    try:
        exec(code, module.__dict__)  # noqa: S102 - the user's own script, as python would run it
    except StopImport as stop:
        return stop.wanted
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    finally:
        _importing.reset(token)
    return None


def _main_name() -> tuple[str, str] | None:
    """Import root and name of the script that was run, or None for a notebook or REPL."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    path = getattr(main, "__file__", None)
    if spec is not None and path and spec.name != "__main__":  # python -m package.module
        return _root_of(path, spec.name), spec.name
    if path is None or not path.endswith(".py"):
        return None
    return _script(path)


@lru_cache(maxsize=8)
def _script(path: str) -> tuple[str, str]:
    """As ``module_name``, which looks at the disk: every step of a script asks for it."""
    return module_name(path)


def _root_of(path: str, name: str) -> str:
    """The folder from which a file is imported under a dotted name."""
    levels = name.count(".") + (os.path.basename(path) == "__init__.py")
    folder = os.path.dirname(os.path.abspath(path))
    for _ in range(levels):
        folder = os.path.dirname(folder)
    return folder


def reference(obj: Any) -> str:
    """The text that names a module-level class or function anywhere.

    Raises:
        SourceNotImportableError: it is defined in a notebook, a REPL or inside a function, or its
            module has something else under its name.
    """
    qualname = getattr(obj, "__qualname__", None)
    if qualname is None:
        raise SourceNotImportableError(
            f"{obj!r} has no name under which another process could find it",
            remedy="define it with 'def' or 'class' at the top level of a module",
        )
    module = obj.__module__
    if "<locals>" in qualname or "<lambda>" in qualname:
        raise SourceNotImportableError(
            f"{qualname} is defined inside a function, where no other process can find it",
            where=f"module {module}",
            remedy="move it to the top level of a module",
        )
    name = module if module != "__main__" else _name_of_main(qualname)
    home = sys.modules.get(module)
    if not getattr(home, "__file__", None):
        raise _in_session(qualname)
    found: Any = home
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not obj:
        raise SourceNotImportableError(
            f"'{qualname}' in module {name} is not the object that is used here",
            where=str(home.__file__) if home else None,
            remedy="give it a name of its own at the top level of a module; if the module was "
            "loaded again, make the step again",
        )
    return f"{name}:{qualname}"


def _name_of_main(qualname: str) -> str:
    """The name under which other processes import the script that was run."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    found = _main_name()
    if found is not None and path and found[1] != "__main__" and "." not in Path(path).stem:
        return found[1]
    if path is None or path.startswith("<"):  # what is typed into "python -" is in "<stdin>"
        raise _in_session(qualname)
    raise SourceNotImportableError(
        f"{qualname} is defined in {os.path.basename(path)}, which no other process can import",
        where=path,
        remedy="rename the script so that it could be a module, say train.py",
    )


def _in_session(qualname: str) -> SourceNotImportableError:
    return SourceNotImportableError(
        f"{qualname} is defined in a notebook or an interactive session, "
        "where no other process can find it",
        remedy=f"save it in a file, say steps.py, and write: from steps import {qualname}",
    )


def import_roots(obj: Any) -> list[str]:
    """The folders that must be on ``sys.path`` for ``reference(obj)`` to load."""
    module = sys.modules.get(obj.__module__)
    path = getattr(module, "__file__", None)
    if path is None:
        return []
    if obj.__module__ != "__main__":
        return [_root_of(path, obj.__module__)]
    found = _main_name()
    roots = [found[0]] if found is not None else []
    if getattr(module, "__spec__", None) is None:
        # Python put the script's own folder on the path, also where that is a package.
        roots.append(os.path.dirname(os.path.abspath(path)))
    return list(dict.fromkeys(roots))


def load(text: str, roots: Iterable[str] = ()) -> Any:
    """Load the object that a reference names.

    Args:
        text: ``module:qualified.name``.
        roots: Folders to look in beyond ``sys.path``; they are appended to it.

    Raises:
        SourceError: there is no such module or name, or the module cannot be imported; says what
            was looked for and where.
    """
    name, _, qualname = text.partition(":")
    with _alone:
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
    if main is None or main[1] != name:
        return None
    # A worker may have begun as a script of that name, and now be given another one.
    script, location = sys.modules["__main__"], locate(name)
    if location is None:
        return script
    same = os.path.realpath(location.path) == os.path.realpath(str(script.__file__))
    return script if same else None


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
        # Finders of editable installs bring a loader of their own choice.
        if type(spec.loader) is SourceFileLoader and not is_installed(spec.loader.path):
            spec.loader = UserModuleLoader(name, spec.loader.path)
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
    except SourceError:
        raise
    except (Exception, SystemExit) as error:
        raise SourceError(
            f"{text} cannot be loaded: {type(error).__name__}: {error}",
            where=_place(error) or name,
            remedy=f"mend what 'import {name}' does; what only a run of the script should do "
            "belongs under if __name__ == '__main__':",
        ) from error
    finally:
        _importing.reset(token)


def _place(error: BaseException) -> str | None:
    """File and line at which an import failed."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
