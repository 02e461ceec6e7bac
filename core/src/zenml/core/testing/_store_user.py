"""Another process that uses an artifact store: it opens a URL, and does what it is told.

Each line on standard input is a JSON list, a method and its arguments; each gets a line in answer.
Bytes travel as text of one character for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from zenml.core.errors import ZenMLError
from zenml.core.stores import open_store

__all__ = ["StoreUser"]


class StoreUser:
    """The other process, as seen from the one that tells it what to do.

    Args:
        url: What it opens.
        folder: Its present folder.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, url],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, method: str, *arguments: Any) -> Any:
        """What the method returns there; keys, if it is a listing. Raises ``AssertionError``."""
        sent = [one.decode("latin-1") if isinstance(one, bytes) else one for one in arguments]
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps([method, *sent]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        assert line, "a process that opened the store by its URL ended; see what it printed"
        answer = json.loads(line)
        assert "error" not in answer, f"{method}() failed in another process: {answer['error']}"
        value = answer["value"]
        return value.encode("latin-1") if isinstance(value, str) else value

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.communicate()


def _serve(url: str) -> None:
    # Standard output is for answers; what a plugin prints is not among them.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    store = open_store(url)
    for line in sys.stdin:
        method, *sent = json.loads(line)
        try:
            if method.startswith("write"):
                sent[1] = sent[1].encode("latin-1")
            value: Any = getattr(store, method)(*sent)
            if method == "list":
                value = [found.key for found in value]
            answer = {"value": value.decode("latin-1") if isinstance(value, bytes) else value}
        except Exception as error:  # noqa: BLE001 - the store's own code; a case judges it
            text = error.message if isinstance(error, ZenMLError) else str(error)
            answer = {"error": f"{type(error).__name__}: {text}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
