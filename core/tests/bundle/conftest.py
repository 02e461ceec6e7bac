"""Repositories to bundle, and git without anybody's own settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from zenml.core.stores import LocalArtifactStore

Git = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    made = LocalArtifactStore(str(tmp_path / "store"))
    made.prepare()
    return made


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    return folder


@pytest.fixture
def git(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Runs git in the repository, after ``git init``."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "somebody@example.org")

    def run(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True).stdout

    try:
        run("init", "--quiet")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    return run
