"""The repository's own folder ``.zenml`` and the configuration file in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from zenml.core.contracts._backend import BackendConfig
from zenml.core.contracts._settings import nearest
from zenml.core.errors import ConfigurationError, Problem

__all__ = ["Connection", "PluginRules", "ProjectConfig", "find_root", "read_config", "write_config"]

FOLDER = ".zenml"
FILE = "config.yaml"


class Connection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A configured backend that the repository knows by name."""

    kind: str
    type: str
    args: dict[str, Any] = {}

    @property
    def config(self) -> BackendConfig:
        """The backend as a plan records it."""
        return BackendConfig(type=self.type, args=self.args)


class PluginRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    for marker in (FOLDER, ".git"):
        for folder in (start, *start.parents):
            if (folder / marker).exists() and folder != Path.home():
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
    from zenml.core._yaml import load_yaml  # 30 ms that most repositories need not pay

    content = load_yaml(text, str(path)) or {}
    known = ProjectConfig.__struct_fields__
    problems = [
        Problem(str(name), "no such setting", nearest(str(name), known))
        for name in content
        if name not in known
    ]
    if problems:
        raise ConfigurationError(f"{path} cannot be used", problems)
    try:
        config = msgspec.convert(content, ProjectConfig)
    except msgspec.ValidationError as error:
        message, _, at = str(error).replace("`", "").partition(" - at $.")
        raise ConfigurationError(f"{path} cannot be used", [Problem(at, message)]) from error
    if config.version != 1:
        newer = Problem(
            "version",
            f"this zenml-core reads version 1, the file has {config.version}",
            "pip install --upgrade zenml-core",
        )
        raise ConfigurationError(f"{path} cannot be used", [newer])
    return config


def write_config(root: Path, config: ProjectConfig) -> None:
    """Replace the configuration atomically, creating ``.zenml`` if need be."""
    from zenml.core._yaml import dump_yaml

    path = config_path(root)
    create_folder(root)
    draft = path.with_name(f"{FILE}.{os.getpid()}.tmp")
    draft.write_text(dump_yaml(msgspec.to_builtins(config)), encoding="utf-8")
    os.replace(draft, path)


def create_folder(root: Path) -> None:
    """Make ``.zenml`` and keep it out of git: it holds data, not source."""
    folder = root / FOLDER
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n")


def split_names(text: str) -> tuple[str, ...]:
    """Names in an environment variable, separated by commas or spaces."""
    return tuple(name for name in re.split(r"[,\s]+", text) if name)
