"""Makes the manifest of a repository, or says everything that is in the way."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from zenml.core.bundle._budget import budget_problems, in_bytes
from zenml.core.bundle._ignore import line_for
from zenml.core.bundle._manifest import MANIFEST_LIMIT, BundleFile, BundleManifest
from zenml.core.bundle._secrets import ALLOW_FILE, SCANNED, Allowed, Finding, in_content, in_name
from zenml.core.bundle._walk import IGNORE_FILE, Found, LeftOut, Walk
from zenml.core.errors import ConfigurationError, Problem

__all__ = ["BundleRules", "collect", "left_out"]


class BundleRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a bundle may hold, beyond what the ignore files say.

    Attributes:
        budget: Bytes of all files together, before compression.
        allow_secrets: Files, relative to the repository, that are bundled although something in
            them looks like a secret. ``.zenmlallow`` in the repository does the same.
    """

    budget: int = 50 * 2**20
    allow_secrets: tuple[str, ...] = ()


def collect(root: Path, rules: BundleRules | None = None) -> BundleManifest:
    """The files of a repository that a remote place needs, with their digests.

    Args:
        root: The repository.
        rules: The defaults, if None.

    Raises:
        ConfigurationError: it is larger than the budget, holds likely secrets, links that leave it,
            or names that other systems cannot hold. Lists all of that at once.
    """
    rules = rules or BundleRules()
    walk = Walk(root)
    problems = list(walk.problems)
    too_large = budget_problems(walk.files, rules.budget)
    allowed = Allowed(_allow_file(root), rules.allow_secrets)
    files: list[BundleFile] = []
    for found in walk.files:
        trusted = found.path in allowed
        named = None if trusted else _by_name(found)
        if named is not None:
            problems.append(named.problem())
        if too_large:
            continue  # nothing is read of what may be a terabyte of data
        try:
            file, findings = _read(found, scan=named is None and not trusted)
        except OSError as error:
            remedy = f"mend it, or add {line_for(found.path)} to {IGNORE_FILE}"
            problems.append(Problem(found.path, f"cannot be read: {error.strerror}", remedy))
            continue
        files.append(file)
        problems += [finding.problem() for finding in findings]
    manifest = BundleManifest(files=tuple(files))
    if not too_large and len(manifest.encoded) > MANIFEST_LIMIT:
        limit = in_bytes(MANIFEST_LIMIT)
        problems.append(Problem("", f"{len(files):,} files: their names alone are over {limit}"))
    if problems or too_large:
        subject = f"the code in {os.path.abspath(root)} cannot be bundled"
        raise ConfigurationError(subject, [*too_large, *problems])
    return manifest


def left_out(root: Path) -> list[LeftOut]:
    """What of a repository is not in its bundle, and which line of which file says so."""
    return Walk(root).left_out


def _by_name(found: Found) -> Finding | None:
    """What the name says of a file, or of the one that it is a link to."""
    finding = in_name(found.path)
    if finding is None and found.link is not None:
        finding = in_name(found.link)
    return finding._replace(path=found.path) if finding else None


def _read(found: Found, *, scan: bool) -> tuple[BundleFile, list[Finding]]:
    hasher = hashlib.sha256()
    size = 0
    findings: list[Finding] = []
    with open(found.real, "rb", buffering=0) as file:
        while chunk := file.read(SCANNED):
            if scan and not size:
                findings = list(in_content(found.path, chunk))
            hasher.update(chunk)
            size += len(chunk)
    digest = hasher.hexdigest()
    return (
        BundleFile(path=found.path, sha256=digest, size=size, executable=found.executable),
        findings,
    )


def _allow_file(root: Path) -> bytes:
    try:
        return (root / ALLOW_FILE).read_bytes()
    except OSError:
        return b""
