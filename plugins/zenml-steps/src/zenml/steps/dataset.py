"""Datasets: rows in typed Parquet shards, whose sharding is part of the artifact.

A dataset is a value object over files. Its columns are divided into *parts*; a shard holds the same
rows in one file for each part. A step that adds columns adds a part, and shares the files of the
others by their digests: neither a split nor a transformation copies what it was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import msgspec

from zenml.core import Blob, Files
from zenml.core.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SPLIT_PART", "Column", "Dataset", "Shard", "read_rows"]

#: The part that says which split each row is in. Its one column holds positions in
#: ``Dataset.splits``, or null for a row that is in none.
SPLIT_PART: Final = "split"


class Column(msgspec.Struct, frozen=True):
    """One column of a dataset.

    Attributes:
        name: Its name, unique in the dataset.
        type: ``boolean``, ``integer`` (64 bits), ``float`` (64 bits), ``string``, ``binary`` (bytes
            that no step but their transform looks into), ``float32``, or ``float32[n]`` for vectors
            of n.
        part: Which of a shard's files holds it.
    """

    name: str
    type: str
    part: str


class Shard(msgspec.Struct, frozen=True):
    """Consecutive rows of a dataset.

    Attributes:
        first_row: Global index of its first row.
        rows: How many rows.
        files: Part to Parquet file.
        split_rows: Rows in each of the dataset's splits, in their order; empty before a split.
    """

    first_row: int
    rows: int
    files: dict[str, Blob]
    split_rows: tuple[int, ...] = ()


class Dataset(msgspec.Struct, frozen=True, dict=True):
    """Rows in shards, with typed columns and, after a split step, named splits.

    Attributes:
        columns: The columns, in order.
        shards: The shards, in order of their rows.
        splits: Names of the splits; empty before a split step.
    """

    columns: tuple[Column, ...]
    shards: tuple[Shard, ...]
    splits: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> dict[str, str]:
        """Column name to type, in the order of the columns."""
        return {column.name: column.type for column in self.columns}

    def n_rows(self, split: str | None = None) -> int:
        """How many rows, in all or in one split. Reads nothing. Raises ``DataError``."""
        if split is None:
            return sum(shard.rows for shard in self.shards)
        position = self.splits.index(self.check_split(split))
        return sum(shard.split_rows[position] for shard in self.shards)

    def check_columns(self, names: Sequence[str]) -> Sequence[str]:
        """Return ``names`` if the dataset has them all.

        Raises a ``DataError`` that says which are missing and what they are probably called.
        """
        missing = [name for name in names if name not in self.schema]
        if missing:
            raise DataError(
                f"the dataset has no column {_listed(missing)}",
                where=f"columns: {_listed(list(self.schema))}",
                remedy=_nearest(missing, list(self.schema)),
            )
        return names

    def check_split(self, name: str) -> str:
        """Return ``name`` if the dataset has that split. Raises ``DataError``."""
        if name not in self.splits:
            found = _listed(list(self.splits)) if self.splits else "none"
            raise DataError(
                f"the dataset has no split '{name}'",
                where=f"splits: {found}",
                remedy=_nearest([name], list(self.splits))
                if self.splits
                else "add a split step before this one",
            )
        return name

    def with_part(
        self, part: str, columns: Mapping[str, str], blobs: Sequence[Blob], *, keep: bool = True
    ) -> Dataset:
        """This dataset with further columns, one new file for each shard.

        Args:
            part: Name of the new part. A part of that name is replaced, with its columns.
            columns: Name to type of the columns in the files.
            blobs: The files, in the order of the shards; each has as many rows as its shard.
            keep: False leaves the other columns out of the result.
        """
        old = tuple(
            column
            for column in self.columns
            if keep and column.part != part and column.name not in columns
        )
        kept = {column.part for column in old} | {SPLIT_PART}
        added = tuple(Column(name, kind, part) for name, kind in columns.items())
        shards = tuple(
            msgspec.structs.replace(
                shard,
                files={name: file for name, file in shard.files.items() if name in kept}
                | {part: blob},
            )
            for shard, blob in zip(self.shards, blobs, strict=True)
        )
        return Dataset(old + added, shards, self.splits)

    def with_splits(
        self, splits: Sequence[str], blobs: Sequence[Blob], rows: Sequence[Sequence[int]]
    ) -> Dataset:
        """This dataset with every row assigned to a split; no other file changes.

        Args:
            splits: Names of the splits.
            blobs: For each shard, a file with the one column ``split`` of positions in ``splits``.
            rows: For each shard, how many rows each split has.
        """
        shards = tuple(
            msgspec.structs.replace(
                shard, files=shard.files | {SPLIT_PART: blob}, split_rows=tuple(counts)
            )
            for shard, blob, counts in zip(self.shards, blobs, rows, strict=True)
        )
        return Dataset(self.columns, shards, tuple(splits))

    def unit(
        self,
        shard: Shard,
        *,
        columns: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """What ``read_rows`` needs to read rows of one shard: plain data for a unit's payload.

        Args:
            shard: One of ``self.shards``.
            columns: Only these columns, in this order; all of them by default.
            splits: Only rows in these splits; all rows by default.
        """
        wanted = list(self.schema) if columns is None else list(self.check_columns(columns))
        part_of = {column.name: column.part for column in self.columns}
        parts: dict[str, list[str]] = {}
        for name in wanted:
            parts.setdefault(part_of[name], []).append(name)
        if not set(parts) <= set(shard.files):
            raise DataError(
                "the shard is not one of this dataset: it lacks "
                + _listed(sorted(set(parts) - set(shard.files))),
                remedy="take it from dataset.shards",
            )
        unit: dict[str, Any] = {
            "first_row": shard.first_row,
            "rows": shard.rows,
            "columns": wanted,
            "files": [
                {"blob": [shard.files[part].digest, shard.files[part].size], "columns": names}
                for part, names in parts.items()
            ],
        }
        if splits is not None:
            codes = sorted({self.splits.index(self.check_split(name)) for name in splits})
            blob = shard.files[SPLIT_PART]
            unit["split"] = {"blob": [blob.digest, blob.size], "codes": codes}
        return unit

    def frame(
        self,
        shard: Shard,
        files: Files,
        *,
        columns: Sequence[str] | None = None,
        split: str | None = None,
    ) -> pl.DataFrame:
        """Read one shard's rows, in order. Raises ``DataError`` for an unknown column or split."""
        splits = None if split is None else [split]
        return read_rows(self.unit(shard, columns=columns, splits=splits), files)

    def scan(
        self,
        files: Files,
        *,
        columns: Sequence[str] | None = None,
        split: str | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Read the rows shard by shard, so that only one shard is in memory at a time."""
        for shard in self.shards:
            yield self.frame(shard, files, columns=columns, split=split)

    def head(
        self,
        files: Files,
        n_rows: int,
        *,
        columns: Sequence[str] | None = None,
        split: str | None = None,
    ) -> pl.DataFrame:
        """Read the first rows, ``n_rows`` at most. No more shards are read than hold them."""
        import polars as pl

        from zenml.steps._tables import dtype_of

        wanted = self.schema if columns is None else self.check_columns(columns)
        found = [pl.DataFrame(schema={name: dtype_of(self.schema[name]) for name in wanted})]
        for shard in self.shards:
            if n_rows <= 0:
                break
            rows = self.frame(shard, files, columns=columns, split=split).head(n_rows)
            found.append(rows)
            n_rows -= rows.height
        return pl.concat(found)


def read_rows(unit: Mapping[str, Any], files: Files, *, dictionaries: bool = False) -> pl.DataFrame:
    """Read the rows that ``Dataset.unit`` described, in order, with the columns in its order.

    Args:
        unit: What ``Dataset.unit`` gave.
        files: Reads the shard's files.
        dictionaries: Leave text that is stored as a dictionary what it is, an ``Enum`` of the
            values that the shard has.
    """
    import polars as pl

    from zenml.steps._dictionaries import as_text
    from zenml.steps._tables import read_parquet

    frames = [read_parquet(Blob(*file["blob"]), files, file["columns"]) for file in unit["files"]]
    if not frames:
        frame = pl.DataFrame(height=unit["rows"])
    else:
        frame = pl.concat(frames, how="horizontal") if len(frames) > 1 else frames[0]
        frame = frame.select(unit["columns"])
    split = unit.get("split")
    if split is not None:
        codes = read_parquet(Blob(*split["blob"]), files, ["split"])["split"]
        frame = frame.filter(codes.is_in(split["codes"]))
    return frame if dictionaries else as_text(frame)


def _listed(names: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def _nearest(missing: Sequence[str], valid: Sequence[str]) -> str | None:
    import difflib

    found = [
        f"'{close[0]}' for '{name}'"
        for name in missing
        if (close := difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5))
    ]
    return f"did you mean {', '.join(found)}?" if found else "name one of these"
