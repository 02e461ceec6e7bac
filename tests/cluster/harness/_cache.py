"""What takes long to make, kept outside the checkout under a key that says what it is made of."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

__all__ = ["cached", "digest_of", "folder", "locked", "mounts", "remove"]


def folder() -> Path:
    """Where everything is kept: ``zenml/cluster`` in the user's folder of caches."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "zenml" / "cluster"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with its holder, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cached(kind: str, key: str, make: Callable[[Path], None], *, keep: int = 2) -> Path:
    """The folder that ``make`` filled, now or earlier, here or in another process.

    Args:
        kind: What it is; those of one kind replace each other.
        key: What it is made of.
        make: Fills an empty folder.
        keep: How many of the kind stay; those used longest ago go.
    """
    shelf = folder() / kind
    made = shelf / key
    if not made.is_dir():
        with locked(shelf / f".{key}.lock"):
            if not made.is_dir():
                draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=shelf))
                try:
                    make(draft)
                    draft.chmod(0o755)
                    draft.rename(made)
                except BaseException:
                    remove(draft)
                    raise
    with contextlib.suppress(FileNotFoundError):
        # Exactly: the time that the kernel would take moves on in steps.
        os.utime(made, ns=(time.time_ns(), time.time_ns()))
    _tidy(shelf, keep)
    return made


def _tidy(shelf: Path, keep: int) -> None:
    """Remove what was used longest ago, and the drafts of whoever was killed."""
    ages = {}
    for entry in shelf.iterdir():
        with contextlib.suppress(FileNotFoundError):
            ages[entry] = entry.stat().st_mtime
    drafts = [entry for entry in ages if entry.name.startswith(".draft-")]
    whole = sorted((entry for entry in ages if entry.name[0] != "."), key=ages.__getitem__)
    old = [draft for draft in drafts if ages[draft] < time.time() - 86_400]
    for entry in [*whole[:-keep], *old]:
        remove(entry)
        (shelf / f".{entry.name}.lock").unlink(missing_ok=True)


def mounts(folder: Path) -> list[str]:
    """The mounts of this machine in a folder, the innermost first."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    return sorted((point for point in points if Path(point).is_relative_to(folder)), reverse=True)


def remove(folder: Path) -> None:
    """Remove a folder; what is mounted in it is somebody else's, and only unmounted."""
    for mount in mounts(folder):
        subprocess.run(["umount", "--lazy", mount], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def digest_of(parts: Iterable[str | bytes | Path]) -> str:
    """A short digest of texts and of what files and folders hold."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            inside = sorted(part.rglob("*")) if part.is_dir() else [part]
            for file in inside:
                if file.is_file() and "__pycache__" not in file.parts:
                    name = str(file.relative_to(part)).encode()
                    content = hashlib.sha256(file.read_bytes()).digest()
                    whole.update(b"%d:%b%b" % (len(name), name, content))
        else:
            data = part.encode() if isinstance(part, str) else part
            whole.update(b"%d:%b" % (len(data), data))
    return whole.hexdigest()[:16]
