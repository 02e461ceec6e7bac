"""The manifest: which files a bundle holds. Its digest is the bundle's name."""

from __future__ import annotations

import re
from functools import cached_property

import msgspec

from zenml.core._canonical import canonical, sha256
from zenml.core.errors import IntegrityError

__all__ = [
    "MANIFEST_LIMIT",
    "MANIFEST_PATH",
    "UNPACKED_PATH",
    "BundleFile",
    "BundleManifest",
    "path_problem",
]

#: Where the manifest is, in an archive and in an unpacked folder. Nothing else of ``.zenml`` is
#: ever bundled, and the folder marks what was unpacked as a repository.
MANIFEST_PATH = ".zenml/bundle.json"

#: Beside it where a program unpacked the archive, and no user to work there.
UNPACKED_PATH = ".zenml/unpacked"

#: Bytes of the largest manifest that is read: about 400,000 files.
MANIFEST_LIMIT = 64 * 2**20

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


class BundleFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a bundle.

    Attributes:
        path: Relative to the repository, with ``/``.
        sha256: Digest of its content, in hexadecimal.
        size: Bytes.
        executable: Whether its mode is 0755; otherwise it is 0644.
    """

    path: str
    sha256: str
    size: int
    executable: bool = False

    @property
    def mode(self) -> int:
        """Permission bits."""
        return 0o755 if self.executable else 0o644


class BundleManifest(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The files of a bundle, by path.

    Nothing in it says where, when or by whom it was made: equal files have one digest.

    Attributes:
        version: Version of the layout of manifest and archive.
        files: Sorted by path; no path twice.
    """

    version: int = 1
    files: tuple[BundleFile, ...] = ()

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes."""
        return canonical(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, hence of every path, mode and content."""
        return sha256(self.encoded)

    @cached_property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @classmethod
    def decode(cls, data: bytes, digest: str) -> BundleManifest:
        """Read a manifest back.

        Raises:
            IntegrityError: it is not the one of that digest, or names what no bundle may hold.
        """
        if sha256(data) != digest:
            raise IntegrityError("the manifest of the code bundle is not the one of its digest")
        try:
            manifest = msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise IntegrityError(f"the manifest of the code bundle is invalid: {error}") from error
        if manifest.version != 1:
            raise IntegrityError(
                f"the code bundle has version {manifest.version}; this zenml-core reads version 1",
                remedy="install the zenml-core that the bundle was made with",
            )
        manifest.check()
        return manifest

    def check(self) -> None:
        """Raise ``IntegrityError`` if a path could leave its folder, or is there twice."""
        before = ""
        folders: set[str] = set()
        for file in self.files:
            problem = path_problem(file.path)
            if problem is None and file.size < 0:
                problem = "has a negative size"
            if problem is None and file.path <= before:
                problem = "is named twice, or out of order"
            if problem:
                raise IntegrityError(f"the code bundle names a path that {problem}: {file.path!r}")
            before = file.path
            parent = file.path.rpartition("/")[0]
            while parent and parent not in folders:
                folders.add(parent)
                parent = parent.rpartition("/")[0]
        both = [file.path for file in self.files if file.path in folders]
        if both:
            raise IntegrityError(f"the code bundle has a file and a folder named {both[0]!r}")


def path_problem(path: str) -> str | None:
    """Why a path cannot be in a bundle, or None: what is unpacked must stay in its folder.

    The rules are those of the strictest system, wherever they are asked: a bundle is made on one
    system and unpacked on another.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8"
    if "\\" in path:
        return "has a backslash, which separates folders on some systems"
    if _CONTROL.search(path):
        return "has a control character"
    if _DRIVE.match(path):
        return "begins like a drive"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "is not a plain relative path"
    if parts[0].lower() == ".zenml" or any(part.lower() == ".git" for part in parts):
        return "is in a folder that is never bundled"
    return None
