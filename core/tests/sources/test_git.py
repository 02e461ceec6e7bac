"""The commit that a plan was made from: read, and nothing but read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from zenml.core.sources import git_state


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", *identity, *arguments]
    answer = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return answer.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A git repository with one commit."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "steps.py").write_text("A = 1\n")
    git(folder, "add", "steps.py")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_a_clean_clone_is_at_its_commit(clone: Path) -> None:
    state = git_state(clone)

    assert state is not None
    assert (state.commit, state.dirty) == (git(clone, "rev-parse", "HEAD"), False)


def test_an_edit_makes_it_dirty_and_stays_as_it_is(clone: Path) -> None:
    (clone / "steps.py").write_text("A = 2\n")

    state = git_state(clone)

    assert state is not None
    assert state.dirty
    assert (clone / "steps.py").read_text() == "A = 2\n"


def test_a_staged_edit_makes_it_dirty(clone: Path) -> None:
    (clone / "steps.py").write_text("A = 2\n")
    git(clone, "add", "steps.py")

    state = git_state(clone)

    assert state is not None
    assert state.dirty


def test_the_index_is_not_touched(clone: Path) -> None:
    # git status refreshes the index where file times differ from what it noted, unless told not to.
    os.utime(clone / "steps.py", (1, 1))
    before = (clone / ".git" / "index").read_bytes()

    git_state(clone)

    assert (clone / ".git" / "index").read_bytes() == before


def test_a_subfolder_is_in_the_same_clone(clone: Path) -> None:
    (clone / "sub").mkdir()

    assert git_state(clone / "sub") == git_state(clone)


def test_outside_a_clone_there_is_no_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


def test_a_clone_without_commits_has_no_state(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")

    assert git_state(tmp_path) is None


def test_without_git_there_is_no_state(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clone))

    assert git_state(clone) is None


def test_what_git_sets_for_its_hooks_does_not_mislead(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    (other / "x").write_text("")
    git(other, "add", "x")
    git(other, "commit", "--quiet", "--message", "another")
    expected = git(clone, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))

    state = git_state(clone)

    assert state is not None
    assert state.commit == expected
