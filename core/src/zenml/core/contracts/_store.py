"""The artifact store: the one thing that every place where work runs must reach."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

from zenml.core._canonical import sha256
from zenml.core.errors import StoreError

__all__ = ["ArtifactStore", "StoredObject", "check_key", "safe_segment"]

#: No segment begins with a dot: ``..`` leads outside, and hidden names are the store's own.
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def check_key(key: str) -> str:
    """Return ``key`` if it is a safe relative key, else raise ``StoreError``."""
    if not _KEY.fullmatch(key):
        raise StoreError("not a key that a store can hold", where=repr(key))
    return key


def safe_segment(text: str, *, limit: int = 40) -> str:
    """One key segment for text that a user chose; different texts never share a segment.

    A readable slug is followed by 12 digits of the text's digest, so nothing unique is cut off
    however long the text is, and nothing in it can leave its folder.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-")
    unique = sha256(text.encode("utf-8", "surrogatepass"))[:12]
    return f"{slug}-{unique}" if slug else unique


class StoredObject(NamedTuple):
    """What a listing says of one object: its key, its size in bytes, when it was written (UTC)."""

    key: str
    size: int
    modified: datetime


class ArtifactStore(ABC):
    """Where artifacts, plans, code and run logs live: a flat map from keys to immutable bytes.

    Keys are relative, made of ``[A-Za-z0-9._-]`` segments joined by ``/``, none of which begins
    with a dot. Every write is atomic: a reader sees the whole object or none. Implementations raise
    ``StoreError`` subclasses only. Instances are shared between threads.
    """

    #: URL scheme that this class serves, such as ``file`` or ``gs``.
    scheme: ClassVar[str]

    def __init__(self, url: str) -> None:
        #: What ``open_store`` was given; two processes with the same URL see the same objects.
        self.url = url

    @abstractmethod
    def prepare(self) -> None:
        """Make the store ready for its first write. Called once, before a run or a commit."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The object's bytes. Raises ``ObjectNotFoundError``."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Write or replace an object."""

    @abstractmethod
    def write_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object unless one is there; of many concurrent writers exactly one gets True."""

    @abstractmethod
    def list(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        """Objects whose key starts with ``prefix``, by key, beginning behind the key ``after``."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """The object as a seekable binary file. Raises ``ObjectNotFoundError``."""

    @abstractmethod
    def upload(self, key: str, path: Path) -> None:
        """Make the local file ``path`` the object ``key``. May move the file away."""

    def exists(self, key: str) -> bool:
        """Whether the store holds that key."""
        return any(found.key == key for found in self.list(key))

    def local_path(self, key: str) -> Path | None:
        """A local file that *is* the object, where the store has one; it must not be written."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"
