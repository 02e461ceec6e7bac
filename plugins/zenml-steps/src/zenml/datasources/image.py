"""Images in folders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from zenml.core import StepContext
from zenml.core.errors import Problem
from zenml.datasources._table import TableDatasource

__all__ = ["ImageDatasource"]


class ImageDatasource(TableDatasource):
    """Images in a folder, with labels: ``pip install 'zenml-steps[image]'``.

    ::

        ImageDatasource(name="flowers", base_path="data/flowers")
        ImageDatasource(name="xrays", base_path="gs://bucket/xrays")

    Labels come from a file ``labels.json`` or ``labels.csv`` in the folder, or else from the
    folders in it: the label of ``flowers/rose/1.jpg`` is ``rose``.

    ``labels.json`` is an object of paths below the folder, each with a label, or with an object of
    several columns: ``{"1.png": "cat"}``, ``{"1.png": {"label": "cat", "age": 3}}``.
    ``labels.csv`` has a column ``path``; the others are labels. Every image has one line.

    Images are PNG, JPEG, GIF, BMP, TIFF or WebP, with the usual endings, at any depth. Other files
    are left out unless they are labelled, and so are hidden ones.

    The columns of the snapshot are ``path`` (below the folder, with ``/``), those of the labels
    (``label``, if there is one for each image), and ``image``, of type ``binary``: the file's
    bytes, as they are. Rows are in the order of their paths. Every image is decoded once, so that a
    snapshot holds none that cannot be.

    Parameters:
        name: Under which its commits are listed.
        base_path: The folder, or its URL.
        schema: Types of some columns of labels: ``boolean``, ``integer``, ``float`` or ``string``.
        rows_per_shard: Images in each shard of the snapshot. A shard ends earlier where it would
            hold more than 64 MiB of them.

    Raises (when it is read):
        DataError: there are no images, labels and images do not fit, or files are no images; names
            them. Nothing is kept of a snapshot that failed.
    """

    unkeyed = frozenset({"name", "base_path"})

    base_path: str
    rows_per_shard: int = 1_024

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """See ``Settings.validate``."""
        yield from super().validate()
        if not self.base_path:
            yield Problem("base_path", "is empty", "name a folder or a URL")
        for column in ("path", "image"):
            if column in (self.schema or {}):
                yield Problem(f"schema.{column}", "the type of this column is fixed")

    def fingerprint(self) -> dict[str, Any]:
        """Digest of the paths and bytes of all files. Reads each once. Raises ``DataError``."""
        from zenml.datasources._source_files import digest, find_below

        hasher = hashlib.sha256()
        found = find_below(self.base_path)
        for file in found:
            hasher.update(f"{file.path}\0{digest(file.source)}\n".encode())
        return {"files": len(found), "sha256": hasher.hexdigest()}

    def run(self, context: StepContext) -> dict[str, Any]:
        """Take the snapshot: ``examples`` (a Dataset), ``statistics`` and ``schema``."""
        from zenml.datasources._image_snapshot import take_snapshot

        return take_snapshot(self, context)
