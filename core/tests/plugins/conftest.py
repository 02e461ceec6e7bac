"""A folder of installed plugins, and a repository to ask about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zenml.core.plugins import BackendInfo
from zenml.core.plugins._specs import PluginInfo
from zenml.core.testing import importing_from
from zenml.repo import Repository

Rows = Callable[..., dict[str, BackendInfo]]
Plugins = Callable[[], dict[str, PluginInfo]]
Configure = Callable[[str], None]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder on the path that stands for ``site-packages``."""
    folder = tmp_path / "site"
    folder.mkdir()
    with importing_from(folder):
        yield folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that has configured nothing; the current folder."""
    folder = tmp_path / "project"
    (folder / ".zenml").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def configure(project: Path) -> Configure:
    """Writes the repository's configuration."""

    def write(text: str) -> None:
        (project / ".zenml" / "config.yaml").write_text(text, encoding="utf-8")

    return write


@pytest.fixture
def rows(project: Path) -> Rows:
    """Rows of the fake plugins: ``distribution/name`` to what ``get_backends()`` says of it."""
    return lambda kind=None: {
        f"{row.distribution}/{row.name}": row
        for row in Repository(project).get_backends(kind)
        if not str(row.distribution).startswith("zenml-")
    }


@pytest.fixture
def plugins(project: Path) -> Plugins:
    """The fake plugins: ``distribution:entry point`` to what the registry says of it."""
    return lambda: {
        f"{plugin.distribution}:{plugin.name}": plugin
        for plugin in Repository(project).registry.plugins
        if not plugin.distribution.startswith("zenml-")
    }
