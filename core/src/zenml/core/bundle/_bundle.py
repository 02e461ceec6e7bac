"""Bundles a repository and uploads it, once for each content."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from zenml.core.bundle._archive import write_archive
from zenml.core.bundle._collect import BundleRules, collect
from zenml.core.bundle._manifest import BundleManifest
from zenml.core.bundle._unpack import archive_key
from zenml.core.contracts._store import ArtifactStore
from zenml.core.sources import GitState, git_state

__all__ = ["Bundle", "archive_key", "store_bundle"]


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

    Args:
        store: A store that is prepared for writing.
        root: The repository.
        rules: The defaults, if None.

    Raises:
        ConfigurationError: the repository cannot be bundled; lists everything that is in the way.
        SourceChangedError: a file changed meanwhile.
        StoreError: the store cannot take it.
    """
    manifest = collect(root, rules)
    bundle = Bundle(
        digest=manifest.digest,
        files=len(manifest.files),
        size=manifest.size,
        git=git_state(root),
    )
    if not store.exists(bundle.key):
        _upload(store, root, manifest, bundle.key)
    return bundle


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
