"""The repository's own folder ``.zenml`` and the configuration file in it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from zenml.core.contracts._backend import BackendConfig, BackendKind
from zenml.core.contracts._settings import nearest
from zenml.core.errors import ConfigurationError, Problem

__all__ = [
    "Connection",
    "PluginRules",
    "ProjectConfig",
    "change_config",
    "find_root",
    "read_config",
]

FOLDER = ".zenml"
FILE = "config.yaml"


class Connection(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A configured backend that the repository knows by name."""

    kind: BackendKind
    type: str
    args: dict[str, Any] = {}

    @property
    def config(self) -> BackendConfig:
        """The backend as a plan records it."""
        return BackendConfig(type=self.type, args=self.args)


class PluginRules(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Which plugins may be imported.

    Attributes:
        disable: Distributions (or ``distribution:entry point``) that are never imported.
        allow: If not empty, the only ones that are.
        choose: ``kind:name`` to the distribution that is meant where several claim the name.
    """

    disable: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    choose: dict[str, str] = {}


class ProjectConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Contents of ``.zenml/config.yaml``.

    Attributes:
        version: Version of this file's layout.
        artifact_store: URL, or a path relative to the repository; None means ``.zenml/store``.
        metadata_store: URL of the index; None means SQLite in ``.zenml``.
        backends: Connected backends by name.
        plugins: Which plugins may be imported.
    """

    version: int = 1
    artifact_store: str | None = None
    metadata_store: str | None = None
    backends: dict[str, Connection] = {}
    plugins: PluginRules = PluginRules()


def find_root(start: Path | None = None) -> Path:
    """The repository that ``start`` is in: the nearest folder upwards with ``.zenml`` or ``.git``.

    Without either it is ``start`` itself, so that a first pipeline needs no set-up command.
    """
    start = Path(os.path.abspath(start or Path.cwd()))
    # Path.home() fails for a user without a home, as containers have them.
    home = os.path.expanduser("~")
    for marker in (FOLDER, ".git"):
        for folder in (start, *start.parents):
            if (folder / marker).exists() and str(folder) != home:
                return folder
    return start


def config_path(root: Path) -> Path:
    """Where the repository's configuration is."""
    return root / FOLDER / FILE


def read_config(root: Path) -> ProjectConfig:
    """Read the configuration; defaults where there is no file. Raises ``ConfigurationError``."""
    path = config_path(root)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ProjectConfig()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read", [Problem("", str(error))]) from error
    from zenml.core._yaml import load_yaml  # 30 ms that most repositories need not pay

    content = load_yaml(text, str(path))
    content = {} if content is None else content
    try:
        # Unknown settings may be those of a newer layout, so its version is looked at first.
        problems = _wrong_version(content) or _unknown_settings(content)
        config = msgspec.convert(content, ProjectConfig)
    except msgspec.ValidationError as error:
        problems = [_as_problem(error)]
    if problems:
        raise ConfigurationError(f"{path} cannot be used", problems)
    return config


def _wrong_version(content: Any) -> list[Problem]:
    version = content.get("version", 1) if isinstance(content, dict) else 1
    if not isinstance(version, int) or version == 1:
        return []
    message = f"this zenml-core reads version 1, the file has {version}"
    return [Problem("version", message, "pip install --upgrade zenml-core")]


def _unknown_settings(content: Any) -> list[Problem]:
    known = ProjectConfig.__struct_fields__
    return [
        Problem(str(name), "no such setting", nearest(str(name), known))
        for name in (content if isinstance(content, dict) else ())
        if name not in known
    ]


def _as_problem(error: msgspec.ValidationError) -> Problem:
    message, _, at = str(error).replace("`", "").partition(" - at $")
    unknown = re.search(r"unknown field (.+)", message)
    known = (*PluginRules.__struct_fields__, *Connection.__struct_fields__)
    return Problem(at.lstrip("."), message, nearest(unknown[1], known) if unknown else None)


def change_config(root: Path, change: Callable[[ProjectConfig], ProjectConfig]) -> None:
    """Replace the configuration atomically, creating ``.zenml`` if need be.

    Args:
        root: The repository.
        change: Makes the new configuration of the current one. No other process changes it
            meanwhile, so that of two changes at once neither is lost.

    Raises:
        ConfigurationError: the current one cannot be read, or the new one not be written.
    """
    from zenml.core._yaml import dump_yaml

    path = config_path(root)
    try:
        create_folder(root)
        with _alone(path.with_name(f"{FILE}.lock")):
            content = msgspec.to_builtins(change(read_config(root)))
            draft = path.with_name(f"{FILE}.tmp")
            draft.write_text(dump_yaml(content), encoding="utf-8")
            os.replace(draft, path)
    except OSError as error:
        problem = Problem("", str(error), f"make {path.parent} a folder that you may write to")
        raise ConfigurationError(f"{path} cannot be written", [problem]) from error


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the system lets go of it also when this process is killed."""
    with path.open("ab") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def create_folder(root: Path) -> None:
    """Make ``.zenml`` and keep it out of git: it holds data, not source."""
    folder = root / FOLDER
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n")


def split_names(text: str) -> tuple[str, ...]:
    """Names in an environment variable, separated by commas or spaces."""
    return tuple(name for name in re.split(r"[,\s]+", text) if name)
