"""Artifacts: immutable outputs named by the digest of their content, and how values become them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from zenml.core._canonical import canonical, from_json, sha256
from zenml.core.errors import IntegrityError

__all__ = ["Artifact", "ArtifactFormat", "Blob", "Files"]


class Blob(msgspec.Struct, frozen=True, order=True):
    """Some bytes in the artifact store, named by what they are.

    Attributes:
        digest: SHA-256 of the bytes, in hexadecimal. The store's key is ``data/<digest>``.
        size: How many bytes.
    """

    digest: str
    size: int

    @property
    def key(self) -> str:
        """Where the bytes are in any artifact store."""
        return f"data/{self.digest}"


class Artifact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """An immutable output: a small plain value, a set of named files, or both.

    Nothing in it says where, when or by whom it was made: equal content has one digest.

    Attributes:
        format: Which ``ArtifactFormat`` reads it, such as ``json`` or ``dataset/1``.
        value: Plain data (kept in the manifest, so keep it small).
        files: File name to bytes. Names are relative, with ``/``, and never leave their folder.
    """

    format: str
    value: Any = None
    files: dict[str, Blob] = {}

    @cached_property
    def encoded(self) -> bytes:
        """The manifest's canonical bytes."""
        return canonical(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest, hence of everything that it names."""
        return sha256(self.encoded)

    @property
    def size(self) -> int:
        """Bytes of the manifest and of the files that it names."""
        return len(self.encoded) + sum(blob.size for blob in self.files.values())

    @classmethod
    def decode(cls, data: bytes, digest: str) -> Artifact:
        """Read a manifest back. Raises ``IntegrityError`` if it is not the one of that digest."""
        if sha256(data) != digest:
            raise IntegrityError(
                "an artifact's manifest is not what was recorded",
                where=f"artifacts/{digest}.json",
                remedy=f"remove it with 'zenml artifact rm {digest[:12]}' and run again",
            )
        return msgspec.convert(from_json(data), cls)


class Files(Protocol):
    """Reads and writes the bytes behind artifacts: what a step, a unit and a format may touch."""

    @property
    def scratch(self) -> Path:
        """An empty local folder, removed afterwards. Files written here can be ``put``."""

    def put(self, path: Path) -> Blob:
        """Move a file of ``scratch`` into the store; it is visible there whole or not at all."""

    def put_bytes(self, data: bytes) -> Blob:
        """Store some bytes."""

    def fetch(self, blob: Blob) -> Path:
        """A local, read-only file with these bytes, checked against the digest."""


class ArtifactFormat(ABC):
    """Turns Python values of some types into artifacts and back, without pickling.

    Formats are found through the plugins (hook ``zenml_artifact_formats``): a manifest holds a
    format's *name*, so stored bytes can select among installed formats, and never name code.
    """

    #: Name in the manifest. Change it (``…/2``) when the layout changes.
    name: ClassVar[str]

    @abstractmethod
    def save(self, value: Any, files: Files) -> Artifact:
        """Write ``value``. Equal values must give equal artifacts."""

    @abstractmethod
    def load(self, artifact: Artifact, files: Files) -> Any:
        """Read back what ``save`` wrote."""
