"""Virtual environments of jobs: where one is kept, and how it is made. Nothing here makes one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from zenml.core.errors import BackendError

__all__ = ["requirement_problems", "virtual_environment"]


def virtual_environment(python: str, requirements: Sequence[str], cache: Path) -> dict[str, Any]:
    """What the process of a job is told about its environment, as plain data.

    The folder is named by what decides its content: the interpreter's file, and the requirements
    with the content of those that are files of this machine.

    Args:
        python: The interpreter that it is made of.
        requirements: What is installed, as pip reads it.
        cache: Where environments are kept.

    Raises:
        BackendError: a requirement is a folder.
    """
    base = shutil.which(python) or python
    content = [_interpreter(base), sorted({_pinned(text) for text in requirements})]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    folder = cache / "environments" / digest[:32]
    inside = str(folder / "bin" / "python")
    uv = shutil.which("uv")
    if uv:
        make = [uv, "venv", "--python", base, str(folder)]
        install = [uv, "pip", "install", "--no-progress", "--python", inside]
    else:
        make = [base, "-I", "-m", "venv", str(folder)]
        quiet = ("--no-input", "--disable-pip-version-check", "--progress-bar=off")
        install = [inside, "-I", "-m", "pip", "install", *quiet]
    return {
        "folder": str(folder),
        "python": inside,
        "requirements": list(requirements),
        "commands": [make, *([[*install, *requirements]] if requirements else [])],
    }


def requirement_problems(requirements: Sequence[str]) -> Iterator[str]:
    """What is wrong with requirements, whatever this machine holds."""
    for text in requirements:
        path = _path(text)
        if re.search(r"https?://[^/\s]*@", text):
            # What stands before the @ may be a password, so it is not repeated.
            yield "holds a user or password for an index: give it in pip's own configuration"
        elif text.startswith("-") or not text.strip():
            yield (
                f"expected a requirement such as 'polars>=2', found {text!r}; options are given as "
                "environment={'PIP_…': …}"
            )
        elif path is not None and not os.path.isabs(path):
            yield f"expected the whole path of a file, found {text!r}"


def _interpreter(path: str) -> list[Any]:
    """What changes when an interpreter does; an upgrade in place gives a new file."""
    real = os.path.realpath(path)
    try:
        found = os.stat(real)
    except OSError:
        return [path]
    return [real, found.st_size, found.st_mtime_ns]


def _pinned(requirement: str) -> str:
    """A requirement with the content of the file that it names, if it does."""
    path = _path(requirement)
    if path is None:
        return requirement
    if os.path.isdir(path):
        raise BackendError(
            "a folder cannot be required: nothing would tell that its content has changed",
            where=f"requirements: {requirement}",
            remedy=f"python -m pip wheel --no-deps '{path}', and require the wheel",
        )
    try:
        with open(path, "rb") as file:
            return f"{requirement} sha256:{hashlib.sha256(file.read()).hexdigest()}"
    except OSError:
        return requirement  # the installer will say that it is not there


def _path(requirement: str) -> str | None:
    """The file of this machine that a requirement names, if it does."""
    place = requirement.partition(" ;")[0].strip()
    name, at, url = place.partition("@")
    if at and re.fullmatch(r"\s*[\w.-]+(\[[^]]*\])?\s*", name):
        place = url.strip()
    if place.startswith("file:"):
        return unquote(urlsplit(place).path)
    place = re.sub(r"\[[^]]*\]$", "", place)
    if "://" not in place and (place.startswith((".", "/", "~")) or place.endswith(".whl")):
        return place
    return None
