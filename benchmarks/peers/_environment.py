"""Throw-away virtual environments of the peers, made anew when absent.

One for each peer, never shared: their requirements conflict, and the peer called ZenML owns the
import package whose name is this project's namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from _process import clean_environment

_INSTALL_TIMEOUT = 1800.0


class PeerUnavailableError(Exception):
    """A peer's environment could not be made; the message holds the installer's last words."""


@dataclass(frozen=True)
class Environment:
    """A peer's interpreter, and the version of the peer that it has."""

    python: Path
    version: str


def default_cache() -> Path:
    """Return the folder that keeps the environments from one run of the benchmarks to the next."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "zenml-benchmarks")


def ensure_environment(
    cache: Path, distribution: str, requirements: tuple[str, ...]
) -> Environment:
    """Return the environment that satisfies ``requirements``, making it first when absent.

    Raises:
        PeerUnavailableError: it could not be made.
    """
    tag = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    folder = (cache / f"{distribution}-{tag}").absolute()
    python = folder / "venv" / "bin" / "python"
    # Written last: an environment whose making was interrupted has none and is made again.
    receipt = folder / "receipt.json"
    known = _read_receipt(receipt)
    if known.get("requirements") != list(requirements) or not python.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder / "venv", python, requirements)
        known = {"requirements": requirements, "version": _ask_version(python, distribution)}
        receipt.write_text(json.dumps(known))
    return Environment(python, str(known["version"]))


def _read_receipt(receipt: Path) -> dict[str, object]:
    try:
        content = json.loads(receipt.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _make(folder: Path, python: Path, requirements: tuple[str, ...]) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=sysconfig.get_path("scripts"))
    if uv:
        _call([uv, "venv", "--python", sys.executable, str(folder)])
        # uv leaves sources uncompiled unless told otherwise; the peer's first start would then pay
        # for what pip does while it installs.
        install = [uv, "pip", "install", "--compile-bytecode", "--python", str(python)]
    else:
        _call([sys.executable, "-m", "venv", str(folder)])
        install = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    _call([*install, *requirements])


def _ask_version(python: Path, distribution: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    return _call([str(python), "-c", code]).strip()


def _call(command: list[str]) -> str:
    try:
        return subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=clean_environment(),
            timeout=_INSTALL_TIMEOUT,
        ).stdout
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).strip().splitlines() or [str(error)]
        # The cause, and what installers add below it by way of advice.
        words = " ".join(line.strip() for line in lines[-3:])
        raise PeerUnavailableError(words[:300]) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailableError(str(error)) from error
