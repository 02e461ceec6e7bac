"""What all datasources of tables have: types, a sharding, and a history of schemas."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from zenml.core import Artifact, Datasource
from zenml.core.errors import Problem
from zenml.datasources._types import TYPES

__all__ = ["FileDatasource", "TableDatasource"]

_log = logging.getLogger("zenml.datasources")


class TableDatasource(Datasource):
    """A datasource whose snapshot is a typed table in shards.

    Parameters:
        name: Under which its commits are listed.
        schema: Types of some or all columns.
        rows_per_shard: Rows in each shard of the snapshot.
    """

    outputs = ("examples", "statistics", "schema")

    schema: dict[str, str] | None = None
    rows_per_shard: int = 262_144

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """See ``Settings.validate``."""
        from difflib import get_close_matches

        for column, kind in (self.schema or {}).items():
            if kind not in TYPES:
                close = get_close_matches(kind, TYPES, n=1)
                remedy = f"did you mean '{close[0]}'?" if close else f"use {', '.join(TYPES)}"
                yield Problem(f"schema.{column}", f"no such type: '{kind}'", remedy)
        if self.rows_per_shard < 1:
            yield Problem("rows_per_shard", f"expected at least 1, found {self.rows_per_shard}")

    def commit(self) -> str:
        """See ``Datasource.commit``. Warns if the schema is not that of the commit before."""
        before = self.commits
        commit_id = super().commit()
        if before and before[-1] != commit_id:
            changes = self.schema_changes(before[-1], commit_id)
            if changes:
                said = [
                    f"'{change['column']}' {_said(change['before'], change['after'])}"
                    for change in changes
                ]
                _log.warning(
                    "the schema of datasource '%s' changed since commit %s: %s",
                    self.name,
                    before[-1][:12],
                    ", ".join(said),
                )
        return commit_id

    def schema_changes(self, before: str, after: str) -> list[dict[str, str | None]]:
        """How the columns of one commit differ from those of another.

        Args:
            before: The id of a commit.
            after: The id of another.

        Returns:
            ``{"column", "before", "after"}`` for each column that differs. ``before`` and ``after``
            are types; None where there is no such column.

        Raises:
            ObjectNotFoundError: the repository's artifact store has no such commit.
        """
        old, new = _columns(before), _columns(after)
        return [
            {"column": name, "before": old.get(name), "after": new.get(name)}
            for name in {**old, **new}
            if old.get(name) != new.get(name)
        ]


class FileDatasource(TableDatasource):
    """A datasource of files.

    Parameters:
        path: File, folder, glob, or URL.
    """

    unkeyed = frozenset({"name", "path"})

    #: Which files of a folder are meant.
    suffixes: ClassVar[tuple[str, ...]]

    path: str

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """See ``Settings.validate``."""
        if not self.path:
            yield Problem("path", "is empty", "name a file, a folder or a URL")
        yield from super().validate()

    def fingerprint(self) -> dict[str, Any]:
        """The digest of each file, in order. Reads every file once. Raises ``DataError``."""
        from zenml.datasources._source_files import digest, find_files

        return {"files": [digest(file) for file in find_files(self.path, self.suffixes)]}


def _columns(commit_id: str) -> Mapping[str, str]:
    """Column name to type. A commit's id is the digest of its examples, whose manifest has both."""
    from zenml.repo import Repository

    store = Repository.get_instance().artifact_store
    manifest = Artifact.decode(store.read(f"artifacts/{commit_id}.json"), commit_id)
    columns: Sequence[Sequence[str]] = manifest.value["columns"]
    return {name: kind for name, kind, _ in columns}


def _said(before: str | None, after: str | None) -> str:
    if before is None:
        return f"is new ({after})"
    return f"was {before} and is {after}" if after else f"is gone (was {before})"
