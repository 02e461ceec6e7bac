"""The git commit that a plan was made from. Reads; never touches the working tree or the index."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec

__all__ = ["GitState", "git_state"]


class GitState(msgspec.Struct, frozen=True):
    """Where a repository stands.

    Attributes:
        commit: The commit that is checked out, 40 hexadecimal digits.
        dirty: Whether any tracked file differs from it.
    """

    commit: str
    dirty: bool


def git_state(folder: str | Path) -> GitState | None:
    """The state of the git repository around ``folder``; None outside one, or without git."""
    path = Path(os.path.abspath(folder))
    if not any((parent / ".git").exists() for parent in (path, *path.parents)):
        return None
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            command,
            cwd=path,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.splitlines()
    commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid")]
    if not commits or commits[0] == "(initial)":
        return None
    return GitState(commits[0], any(not line.startswith("#") for line in lines))


def _environment() -> dict[str, str]:
    """Ours, without what git sets for its hooks: it would be asked about another repository."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")
    }
    return {**own, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
