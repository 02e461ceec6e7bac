"""Where stand-ins run what they are sent: clean environments, and commands in them.

An environment holds what a remote image would hold: the wheels of this checkout, and what they
need. It is made once for each content, in the user's folder of caches. A command meets the
variables that it is given and no others, and ends with whoever started it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Environment", "Process", "environment", "pip_variables", "start"]

ROOT = Path(__file__).resolve().parents[3]

#: How many environments stay that nobody has used for a while, and what a while is, in seconds.
KEPT, UNUSED = 4, 6 * 3600

#: Ends a command with its parent, and with the command all that it left.
_KEEPER = Path(__file__).with_name("_keeper.py")


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        folder: Where it is.
    """

    folder: Path

    @property
    def bin(self) -> Path:
        """The folder of its programs."""
        return self.folder / "bin"

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.bin / "python")

    def install(self, *requirements: str) -> None:
        """Install into it, with pip as it is configured here.

        Raises:
            RuntimeError: with what pip says.
        """
        _run([self.python, "-m", "pip", "install", "--quiet", *requirements])

    def copy(self, folder: Path) -> Environment:
        """The same somewhere else, to be changed; files are shared until they are replaced."""
        shutil.copytree(self.folder, folder, symlinks=True, copy_function=_link)
        return Environment(folder)


def environment(*requirements: str, ours: Sequence[str] = ("zenml-core",)) -> Environment:
    """The environment that an image would have, made now or earlier, here or in another process.

    Args:
        requirements: What it holds besides, such as ``scikit-learn``; in the versions of
            constraints.txt.
        ours: Distributions of this checkout, such as ``zenml-steps[sklearn]``; no index is asked
            for them, nor for those that they need.
    """
    parts: list[str | Path] = [sys.version, *sorted(requirements), *sorted(ours)]
    parts.append(ROOT / "constraints.txt")
    if ours:
        folders = [ROOT / "core", *sorted((ROOT / "plugins").iterdir())]
        parts += [folder / part for folder in folders for part in ("src", "pyproject.toml")]

    def make(folder: Path) -> None:
        pins: list[str] = []
        if ours:
            _run([_builder().python, str(ROOT / ".ci" / "wheels.py"), str(folder / "wheels")])
            pins = ["--constraint", str(folder / "wheels" / "local.txt")]
        _install(folder, *pins, *ours, *requirements)

    return _made("environments", parts, make)


def start(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    cwd: Path,
    output: Path | int = subprocess.DEVNULL,
) -> Process:
    """Start a command with these variables and no others, as the first process of a container.

    What it leaves behind when it ends is killed, in whatever session that is, and all of it is when
    the process that called this ends.

    Args:
        command: The program's path, and its arguments.
        environment: All variables that it has.
        cwd: Where it runs.
        output: The file that what it prints is appended to, or a file descriptor.
    """
    with contextlib.ExitStack() as opened:
        sink = opened.enter_context(output.open("ab")) if isinstance(output, Path) else output
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_KEEPER), *map(str, command)],
            env={},
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = Process(keeper)
    process.tell(json.dumps(dict(environment)))
    return process


def pip_variables() -> dict[str, str]:
    """What tells pip where packages come from on this machine, for commands without its home."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    found = {"PIP_CACHE_DIR": str(Path(caches) / "pip")}
    for place in (".config/pip/pip.conf", ".pip/pip.conf"):
        if (Path.home() / place).exists():
            found["PIP_CONFIG_FILE"] = str(Path.home() / place)
    certificates = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
    given = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name in certificates
    }
    return {**found, **given}


class Process:
    """A command that runs, or has ended."""

    def __init__(self, keeper: subprocess.Popen[bytes]) -> None:
        self._keeper = keeper

    def poll(self) -> int | None:
        """Its exit code, 128 and the signal's number if one has ended it; None while it runs."""
        return self._ended(self._keeper.poll())

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code. Raises ``subprocess.TimeoutExpired``."""
        code = self._ended(self._keeper.wait(timeout))
        assert code is not None
        return code

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal; one that has ended gets none."""
        self.tell(str(int(number)))

    def stop(self, grace: float = 10.0) -> int:
        """SIGTERM, and SIGKILL after so many seconds, to all that is left; its exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(grace)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it and all that it has started, now; its exit code."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def tell(self, line: str) -> None:
        """Say something to what keeps it; see there."""
        stdin = self._keeper.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended
            stdin.write(f"{line}\n".encode())
            stdin.flush()

    def _ended(self, code: int | None) -> int | None:
        if code is not None and self._keeper.stdin is not None:
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()
        return code


# -- making ----------------------------------------------------------------------------------------


def _made(kind: str, parts: Sequence[str | Path], make: Callable[[Path], None]) -> Environment:
    """The environment that ``make`` has made in the folder of these parts, now or earlier."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    shelf = Path(caches) / "zenml" / "services" / kind
    folder = shelf / _digest(parts)
    # Written when all is there: programs name their interpreter, so nothing can be moved here.
    mark = folder / "made"
    if not mark.exists():
        with _locked(shelf):
            if not mark.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                mark.touch()
                _tidy(shelf)
    with contextlib.suppress(FileNotFoundError):
        os.utime(mark)
    return Environment(folder / "venv")


def _builder() -> Environment:
    """What wheels are built with."""
    parts: list[str | Path] = [sys.version, ROOT / "constraints.txt"]
    return _made("builders", parts, lambda folder: _install(folder, "hatchling"))


def _install(folder: Path, *arguments: str) -> None:
    venv = folder / "venv"
    python = str(venv / "bin" / "python")
    pinned = ["--constraint", str(ROOT / "constraints.txt"), *arguments]
    uv = shutil.which("uv")
    if uv is None:
        _run([sys.executable, "-m", "venv", str(venv)])
        # The one that comes with Python may be too old for extras of what a constraint names.
        _run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"])
        _run([python, "-m", "pip", "install", "--quiet", *pinned])
    else:
        _run([uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(venv)])
        _run([uv, "pip", "install", "--quiet", "--python", python, *pinned])


def _run(command: Sequence[str]) -> None:
    # Where packages come from is this machine's business; what is on Python's path is not.
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COVERAGE"))
    }
    done = subprocess.run(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@contextlib.contextmanager
def _locked(shelf: Path) -> Iterator[None]:
    """Hold a lock that ends with its holder, however that ends."""
    shelf.mkdir(parents=True, exist_ok=True)
    with (shelf / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tidy(shelf: Path) -> None:
    """Remove what nobody has used for a while, but for the latest."""
    marks = sorted(shelf.glob("*/made"), key=lambda mark: mark.stat().st_mtime)
    for mark in marks[:-KEPT]:
        if mark.stat().st_mtime < time.time() - UNUSED:
            mark.unlink()
            shutil.rmtree(mark.parent, ignore_errors=True)


def _digest(parts: Sequence[str | Path]) -> str:
    """A short digest of texts, and of what files and folders hold."""
    whole = hashlib.sha256()
    for part in parts:
        files = [part] if isinstance(part, str) or part.is_file() else sorted(part.rglob("*"))
        for file in files:
            if isinstance(file, str):
                whole.update(b"%d:%b" % (len(file.encode()), file.encode()))
            elif file.is_file() and "__pycache__" not in file.parts:
                name = str(file.relative_to(ROOT)).encode()
                whole.update(b"%d:%b%b" % (len(name), name, _sha256(file)))
    return whole.hexdigest()[:16]


def _sha256(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()
