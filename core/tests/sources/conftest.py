"""Source trees of a few lines each, and the closures of what they define."""

from __future__ import annotations

import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from zenml.core.sources import Closure, closure_of

Files = Mapping[str, str]


class Sources:
    """A folder of sources; ``steps.py`` defines ``work`` unless a test says otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, files: Files) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")

    def replace(self, files: Files) -> None:
        """Have exactly these files."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        self.write(files)

    def closure(self, reference: str = "steps:work", file: str | None = None) -> Closure:
        """The closure of a name, as of now. Nothing is executed for it."""
        module, _, qualname = reference.partition(":")
        stand_in = types.ModuleType(module)
        stand_in.__file__ = str(self.folder / (file or f"{module.replace('.', '/')}.py"))
        made = type(qualname.rpartition(".")[2], (), {"__module__": module})
        sys.modules[module] = stand_in
        try:
            return closure_of(made, reference)
        finally:
            del sys.modules[module]


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    """An empty source tree, first on the path."""
    folder = tmp_path / "sources"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return Sources(folder)
