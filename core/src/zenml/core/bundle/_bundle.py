"""Bundles a repository and uploads it, once for each content."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec

from zenml.core.bundle._archive import write_archive
from zenml.core.bundle._collect import BundleRules, collect
from zenml.core.bundle._manifest import BundleManifest
from zenml.core.bundle._unpack import archive_key, unpacked_manifest
from zenml.core.contracts._store import ArtifactStore
from zenml.core.sources import GitState, git_state

__all__ = ["Bundle", "archive_key", "store_bundle"]

#: The age at which a bundle is uploaded again: one that no run refers to yet is kept for its youth.
_RENEWED_AFTER = timedelta(minutes=30)


class Bundle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A repository's code in an artifact store. Plain data: a plan or a run's record can hold it.

    Attributes:
        digest: Names the content; equal repositories have equal digests.
        files: How many files.
        size: Their bytes, before compression.
        git: The commit that was checked out, and whether tracked files differed from it. It is no
            part of the digest: the same code under another commit is the same code.
    """

    digest: str
    files: int
    size: int
    git: GitState | None = None

    @property
    def key(self) -> str:
        """Where the archive is in any artifact store."""
        return archive_key(self.digest)


def store_bundle(store: ArtifactStore, root: Path, rules: BundleRules | None = None) -> Bundle:
    """Bundle a repository; upload it unless the store has it.

    A folder that ``unpack`` made is the bundle that it was made from, whatever a run left in it.

    Args:
        store: A store that is prepared for writing.
        root: The repository.
        rules: The defaults, if None.

    Raises:
        ConfigurationError: the repository cannot be bundled; lists everything that is in the way.
        SourceChangedError: a file changed meanwhile.
        StoreError: the store cannot take it.
    """
    unpacked = unpacked_manifest(root)
    manifest = collect(root, rules) if unpacked is None else unpacked
    bundle = Bundle(
        digest=manifest.digest,
        files=len(manifest.files),
        size=manifest.size,
        git=git_state(root) if unpacked is None else None,
    )
    # The run that it was unpacked for keeps it, and a step may have written to its files meanwhile.
    kept = unpacked is not None and store.exists(bundle.key)
    if not kept and not _is_young(store, bundle.key):
        _upload(store, root, manifest, bundle.key)
    return bundle


def _is_young(store: ArtifactStore, key: str) -> bool:
    """Whether a bundle is there that nobody who collects garbage may take away meanwhile."""
    young = datetime.now(timezone.utc) - _RENEWED_AFTER
    return any(found.key == key and found.modified > young for found in store.list(key))


def _upload(store: ArtifactStore, root: Path, manifest: BundleManifest, key: str) -> None:
    # On the store's own disk, where it has one, moving the draft costs nothing.
    near = getattr(store, "drafts_folder", None)
    with tempfile.TemporaryDirectory(
        prefix="zenml-code-", dir=near() if near else None, ignore_cleanup_errors=True
    ) as folder:
        draft = Path(folder) / os.path.basename(key)
        with draft.open("wb") as file:
            write_archive(root, manifest, file)
        draft.chmod(0o644)
        store.upload(key, draft)
