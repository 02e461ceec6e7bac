"""Log chunks: a job's output in the artifact store, without secrets."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping

from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import StoreError

__all__ = ["ChunkedLog", "Redactor", "read_log"]

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|token|api_?key|private_?key|credential", re.IGNORECASE
)


class Redactor:
    """Takes the values of secret-looking environment variables out of lines.

    A value of fewer than six characters is left: it would blank out ordinary words.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        values = {
            value
            for name, value in environment.items()
            # A path to a secret is no secret.
            if _SECRET_NAME.search(name) and len(value) >= 6 and not os.path.exists(value)
        }
        # The longest first: one secret may begin with another.
        ordered = sorted(values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub("[redacted]", text) if self._pattern else text


class ChunkedLog:
    """Writes lines as ``<folder>/log-00000001.txt`` and so on, a chunk now and then.

    A store that fails for a while costs nothing but delay: what could not be written is kept and
    written with the next chunk, up to a limit, after which the oldest lines go.
    """

    _CHUNK, _AGE, _KEPT = 256 * 1024, 2.0, 16 * 1024 * 1024

    def __init__(self, store: ArtifactStore, folder: str, redact: Redactor) -> None:
        self._store = store
        self._folder = folder
        self._redact = redact
        self._lock = threading.Lock()
        self._pending: list[str] = []
        self._size = 0
        self._since = time.monotonic()
        self._chunks = 0

    def write(self, line: str) -> str:
        """Add a line, with or without its end; returns it as it is kept."""
        clean = self._redact(line.rstrip("\r\n")) + "\n"
        with self._lock:
            self._pending.append(clean)
            self._size += len(clean)
            due = self._size >= self._CHUNK
        if due:
            self.flush()
        return clean

    def flush_if_old(self) -> None:
        """Write what is pending if it has waited long enough."""
        if self._pending and time.monotonic() - self._since > self._AGE:
            self.flush()

    def flush(self) -> None:
        """Write what is pending. A store that fails is tried again later."""
        with self._lock:
            if not self._pending:
                return
            data = "".join(self._pending).encode("utf-8", "replace")
            try:
                self._store.write(f"{self._folder}/log-{self._chunks + 1:08d}.txt", data)
            except StoreError:
                while self._size > self._KEPT:
                    self._size -= len(self._pending.pop(0))
                return
            self._chunks += 1
            self._pending, self._size, self._since = [], 0, time.monotonic()


def read_log(
    store: ArtifactStore, folder: str, after: str | None = None
) -> Iterator[tuple[str, str]]:
    """The chunks of a log as ``(key, text)``, from behind the chunk ``after`` on.

    A chunk never changes once it is there, so reading on from the last key neither loses nor
    repeats a line.
    """
    for found in store.list(f"{folder}/log-", after=after):
        yield found.key, store.read(found.key).decode("utf-8", "replace")
