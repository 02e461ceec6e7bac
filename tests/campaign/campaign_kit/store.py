"""An artifact store that fails as it is told to: a folder behind a bad line.

``hurt:///folder`` keeps its objects in ``/folder/store``. It gives no local paths away, as a store
elsewhere does not. What goes wrong is in the folder's ``fault.json``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

from campaign_kit.journal import count, fault_of, note, replace, role
from zenml.core import ArtifactStore, open_store
from zenml.core.contracts import StoredObject
from zenml.core.errors import StoreUnavailableError

_T = TypeVar("_T")


class HurtStore(ArtifactStore):
    """A folder, and a fault."""

    scheme = "hurt"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.folder = unquote(urlsplit(url).path)
        self.inner = open_store(f"{self.folder}/store")
        self.fault = fault_of(self.folder)

    # -- contract --------------------------------------------------------------------------------

    def prepare(self) -> None:
        self._meet()
        self.inner.prepare()

    def read(self, key: str) -> bytes:
        self._meet()
        return self.inner.read(key)

    def write(self, key: str, data: bytes) -> None:
        self._put(key, data, self.inner.write)

    def write_if_absent(self, key: str, data: bytes) -> bool:
        return self._put(key, data, self.inner.write_if_absent)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        self._meet()
        return self.inner.list(prefix, after=after)

    def delete(self, key: str) -> None:
        self._meet()
        note(f"deletes {key}", self.folder)
        self.inner.delete(key)

    def open(self, key: str) -> BinaryIO:
        self._meet()
        return self.inner.open(key)

    def upload(self, key: str, path: Path) -> None:
        self._put(key, path.read_bytes(), self.inner.write)

    # -- what goes wrong -------------------------------------------------------------------------

    def _meet(self) -> None:
        """Fail, or take long, while the store is out of reach, or slow, for this process."""
        if self.fault.get("kind") not in ("outage", "slow") or not self._concerned():
            return
        with suppress(FileNotFoundError):
            until = float(Path(f"{self.folder}/window").read_text(encoding="utf-8"))
            if time.monotonic() < until:
                Path(f"{self.folder}/hit").touch()
                if self.fault["kind"] == "outage":
                    raise StoreUnavailableError("the store is out of reach", where=self.url)
                time.sleep(self.fault["delay"])

    def _concerned(self) -> bool:
        return self.fault["who"] in ("everyone", role())

    def _put(self, key: str, data: bytes, put: Callable[[str, bytes], _T]) -> _T:
        self._meet()
        note(f"writes {key}", self.folder)
        hurt = self._is_hurt(key)
        if hurt is not None:
            replace(f"{self.folder}/hit", key)
        if hurt == "torn":
            data = data[: len(data) // 2]
        elif hurt == "refused":
            raise StoreUnavailableError("the store did not take it", where=f"{key} in {self.url}")
        done = put(key, data)
        if hurt == "unsure":
            raise StoreUnavailableError("the store did not answer", where=f"{key} in {self.url}")
        note(f"wrote {key}", self.folder)
        return done

    def _is_hurt(self, key: str) -> str | None:
        """What goes wrong with this writing, if anything does."""
        kind = self.fault.get("kind")
        if kind not in ("torn", "refused", "unsure") or not re.search(self.fault["match"], key):
            return None
        if not self._concerned():
            return None
        return kind if count(f"{self.folder}/matches", key) == self.fault["match_number"] else None
