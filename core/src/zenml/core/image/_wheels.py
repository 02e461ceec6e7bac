"""Distributions that no index has: which ones those are, and their wheels."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from zenml.core.errors import ConfigurationError, Problem
from zenml.core.plugins._entry_points import normalise

__all__ = ["find_wheels", "local_distributions", "make_wheel", "needed_by"]

#: Lines of a failed build that an error repeats.
_SHOWN = 12


def find_wheels(folder: Path, name: str, version: str) -> list[Path]:
    """The wheels of one version of a distribution."""
    return [
        wheel
        for wheel in sorted(folder.glob("*.whl"))
        if [normalise(part) for part in wheel.name.split("-")[:2]]
        == [normalise(name), normalise(version)]
    ]


def local_distributions(pins: Mapping[str, str]) -> dict[str, str]:
    """Distributions that the pinned ones need and that were not installed from an index here.

    Args:
        pins: Names and versions. Those that are not here in that version are an index's business.

    Returns:
        Names and versions, those of ``pins`` among them.
    """
    found: dict[str, str] = {}
    ahead = [name for name, version in pins.items() if _installed(name) == version]
    seen: set[str] = set()
    while ahead:
        name = normalise(ahead.pop())
        version = _installed(name)
        if name in seen or version is None:
            continue
        seen.add(name)
        ahead += needed_by(name)
        if _origin(name):
            found[name] = pins.get(name, version)
    return found


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def needed_by(name: str) -> Iterator[str]:
    """Distributions that an installed one needs, whatever their versions; not those of extras."""
    for requirement in metadata.requires(name) or ():
        # What an extra needs is asked for by whoever wants the extra.
        matched = re.match(r"[A-Za-z0-9][\w.-]*", requirement)
        if matched and not re.search(r"\bextra\s*==", requirement):
            yield matched[0]


def _origin(name: str) -> dict[str, Any]:
    """Where a distribution was installed from, if that was no index (PEP 610)."""
    try:
        text = metadata.distribution(name).read_text("direct_url.json")
        found: dict[str, Any] = json.loads(text or "{}")
    except ValueError:
        return {}
    return found


def make_wheel(name: str, version: str, folder: Path) -> str:
    """Have a distribution that no index has in a folder of wheels, or say where pip gets it.

    Returns:
        A requirement, or nothing if its wheel is in the folder now.

    Raises:
        ConfigurationError: there is no way to it from here.
    """
    origin = _origin(name)
    url, inside = str(origin.get("url", "")), origin.get("subdirectory")
    path = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None
    if path is not None and path.is_file() and path.suffix == ".whl":
        shutil.copyfile(path, folder / path.name)
    elif path is not None and path.exists():
        _build(name, path / inside if inside else path, folder)
    elif path is not None:
        raise _not_made(name, f"was installed from {path}, which is not there any more")
    elif "vcs_info" in origin:
        version_of = origin["vcs_info"]
        source = f"{version_of['vcs']}+{url}@{version_of['commit_id']}"
        _build(name, source + (f"#subdirectory={inside}" if inside else ""), folder)
    else:
        return f"{name} @ {url}"
    if not find_wheels(folder, name, version):
        raise _not_made(name, f"is {version} here, and its source is of another version by now")
    return ""


def _build(name: str, source: Path | str, folder: Path) -> None:
    uv = shutil.which("uv")
    if importlib.util.find_spec("pip"):
        what = str(source) if isinstance(source, Path) else f"{name} @ {source}"
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder)]
    elif uv and isinstance(source, Path):
        what = str(source)
        command = [uv, "build", "--wheel", "--no-create-gitignore", "--out-dir", str(folder)]
    else:
        raise _not_made(name, "is not in an index, and there is no pip here to build it")
    done = subprocess.run(  # noqa: S603 - the user's own installer and source
        [*command, what],
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n    ".join(done.stdout.strip().splitlines()[-_SHOWN:])
        raise _not_made(name, f"cannot be built from {source}:\n    {said}\n   ")


def _not_made(name: str, what: str) -> ConfigurationError:
    problem = Problem(name, what, "build its wheel, and give its folder with --wheels")
    return ConfigurationError("a distribution cannot be put into the image", [problem])
