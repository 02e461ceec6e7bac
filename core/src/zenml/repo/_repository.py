"""The repository: where a project's pipelines, stores and connected backends come together."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import msgspec

from zenml.core._backends import DEFAULT_TYPE, make_backend, offer_of
from zenml.core._project import (
    FOLDER,
    Connection,
    ProjectConfig,
    change_config,
    find_root,
    read_config,
)
from zenml.core._secrets import literal_secrets
from zenml.core.contracts import ArtifactStore, Backend, BackendKind
from zenml.core.contracts._settings import nearest
from zenml.core.errors import (
    BackendError,
    BackendNotFoundError,
    ConfigurationError,
    Problem,
)
from zenml.core.plugins import BackendInfo
from zenml.core.plugins._registry import Registry, get_registry
from zenml.core.stores._open import open_store

__all__ = ["Repository"]

_CONNECTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_KINDS = get_args(BackendKind)


class Repository:
    """A project folder: its configuration, its stores, and the backends that it may use.

    Args:
        path: A folder inside the project; the current one by default. The project is the nearest
            folder upwards that holds ``.zenml`` or ``.git``, else the folder itself.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.root = find_root(Path(path) if path is not None else None)

    @classmethod
    def get_instance(cls, path: str | Path | None = None) -> Repository:
        """The repository around ``path``."""
        return cls(path)

    @classmethod
    def init_repo(
        cls,
        repo_path: str | Path | None = None,
        artifact_store_path: str | None = None,
        metadata_store: str | None = None,
    ) -> Repository:
        """Make a folder a repository, or change the stores of one.

        Args:
            repo_path: The folder; the current one by default.
            artifact_store_path: URL or path of the artifact store; ``.zenml/store`` by default.
            metadata_store: URL of the index; SQLite in ``.zenml`` by default.
        """
        root = Path(repo_path or ".").resolve()
        change_config(
            root,
            lambda config: msgspec.structs.replace(
                config,
                artifact_store=artifact_store_path or config.artifact_store,
                metadata_store=metadata_store or config.metadata_store,
            ),
        )
        repository = cls(root)
        repository.artifact_store.prepare()
        return repository

    @property
    def config(self) -> ProjectConfig:
        """The configuration, read anew. Raises ``ConfigurationError``."""
        return read_config(self.root)

    @cached_property
    def registry(self) -> Registry:
        """What is installed, under this repository's rules."""
        return get_registry(self.root)

    # -- stores ----------------------------------------------------------------------------------

    @property
    def artifact_store(self) -> ArtifactStore:
        """The repository's artifact store."""
        return self.open_artifact_store(None)

    def open_artifact_store(self, choice: str | Path | ArtifactStore | None) -> ArtifactStore:
        """The store that is meant: one given as such, a URL, a path in the repository, or None.

        None is the one that the repository is configured with.
        """
        if isinstance(choice, ArtifactStore):
            return choice
        choice = choice or self.config.artifact_store
        if choice is None:
            return open_store(str(self.root / FOLDER / "store"))
        text = str(choice)
        return open_store(text if "://" in text else str(self.root / Path(text).expanduser()))

    @property
    def metadata_store(self) -> Any:
        """The repository's index, a ``zenml.metadata.MetadataStore``."""
        return self.open_metadata_store(self.config.metadata_store)

    def open_metadata_store(self, choice: Any) -> Any:
        """The index that is meant: one given as such, a URL, or None for the default."""
        from zenml.metadata import MetadataStore, SQLiteMetadataStore, open_metadata_store

        if isinstance(choice, MetadataStore):
            return choice
        if choice is None:
            return SQLiteMetadataStore(self.root / FOLDER / "index.db")
        return open_metadata_store(str(choice))

    # -- backends --------------------------------------------------------------------------------

    def get_backends(self, kind: str | None = None) -> list[BackendInfo]:
        """Every backend that is installed, and every one that this repository has connected.

        Nothing is imported but the plugins' light modules. What cannot be used is a row too, with
        its status, cause and remedy.

        Args:
            kind: Only ``orchestrator``, ``processing`` or ``training``.

        Raises:
            ConfigurationError: there is no such kind, or the configuration cannot be read.
        """
        if kind not in (None, *_KINDS):
            expected = f"expected one of {', '.join(_KINDS)}; found {kind!r}"
            problem = Problem("kind", expected, nearest(str(kind), _KINDS))
            raise ConfigurationError("backends cannot be listed", [problem])
        rows = self.registry.backends(kind)
        rows += [
            self._connected(name, connection)
            for name, connection in self.config.backends.items()
            if kind in (None, connection.kind)
        ]
        return sorted(rows, key=lambda row: (row.kind, row.name, row.distribution or ""))

    def _connected(self, name: str, connection: Connection) -> BackendInfo:
        try:
            offer = self.registry.find(connection.kind, connection.type)
        except BackendError as error:
            owner, _, bare = connection.type.rpartition(":")
            offers = self.registry.offers_of(connection.kind, connection.type)
            plugin = self.registry.ailing(owner)
            blamed = offers[0] if offers else plugin
            return BackendInfo(
                kind=connection.kind,
                type=bare,
                name=name,
                distribution=owner or None,
                version=None,
                status=blamed.status if blamed else "missing-dependency",
                cause=error.message,
                remedy=error.remedy,
                summary="connected by this repository",
            )
        row = self.registry.row(offer)
        return msgspec.structs.replace(row, name=name, status="connected", cause=None, remedy=None)

    def get_backend(self, name: str) -> Backend:
        """The backend that this repository has connected under that name.

        Raises:
            BackendNotFoundError: there is none, or its plugin is no longer installed.
            BackendUnavailableError: its plugin cannot be used.
            ConfigurationError: its parameters are wrong.
        """
        connections = self.config.backends
        if name in connections:
            connection = connections[name]
            made: Backend = make_backend(connection.kind, connection.config, self.registry)
            return made
        raise BackendNotFoundError(
            f"this repository has no connected backend '{name}'",
            where=str(self.root),
            remedy=nearest(name, connections)
            or f"connected are: {', '.join(connections) or 'none'}; "
            "see 'zenml backend connect --help'",
        )

    def connect_backend(self, name: str, backend: Backend) -> BackendInfo:
        """Remember a configured backend under a name. Secrets are stored as references only.

        Raises:
            ConfigurationError: the name cannot be used, or a parameter looks like a secret.
        """
        problems = []
        if str(name) != name or not _CONNECTION_NAME.fullmatch(name):
            problems.append(Problem("name", f"{name!r}: letters, digits, '_', '-' and '.' only"))
        if name == DEFAULT_TYPE:
            problems.append(Problem("name", f"'{name}' names the default backends"))
        offer = offer_of(type(backend), self.registry)
        if not isinstance(backend, Backend):
            problems.append(Problem("backend", f"expected a backend object, found {backend!r}"))
        elif offer is None:
            problems.append(
                Problem("backend", f"{type(backend).__name__} is not registered by any plugin")
            )
        else:
            problems += literal_secrets(backend.parameters(), "")
        if problems or offer is None:
            raise ConfigurationError(f"backend '{name}' cannot be connected", problems)
        # With its distribution, so that it stays what it is when another plugin claims its type.
        explicit = f"{offer.plugin.distribution}:{offer.name}"
        connection = Connection(kind=backend.kind, type=explicit, args=backend.parameters())
        change_config(
            self.root,
            lambda config: msgspec.structs.replace(
                config, backends={**config.backends, name: connection}
            ),
        )
        return self._connected(name, connection)

    def disconnect_backend(self, name: str) -> None:
        """Forget a connected backend. Raises ``BackendNotFoundError``."""
        if name not in self.config.backends:
            self.get_backend(name)
        change_config(
            self.root,
            lambda config: msgspec.structs.replace(
                config,
                backends={key: value for key, value in config.backends.items() if key != name},
            ),
        )

    def __repr__(self) -> str:
        return f"Repository({str(self.root)!r})"
