"""Frames on their way from the process that holds them into the artifact store.

The shards are written when the datasource is made, as they will be in the snapshot. An index names
them, and the index's digest stands for the frame in a plan.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zenml.core import ArtifactStore, Blob, Files, StepContext
from zenml.core.errors import DataError, ObjectNotFoundError

if TYPE_CHECKING:
    import polars as pl

    from zenml.datasources.frame import FrameDatasource

__all__ = ["HeldFrame", "held", "hold", "measure_shard", "take_snapshot"]

_WHERE: Final = "the frame"


class HeldFrame:
    """The shards of one frame in a temporary folder, which goes with the last datasource of it.

    It is ``Files`` over that folder, as far as writing needs them.
    """

    def __init__(self) -> None:
        self._blobs: list[Blob] = []
        self.scratch = Path(tempfile.mkdtemp(prefix="zenml-frame-"))
        weakref.finalize(self, shutil.rmtree, self.scratch, ignore_errors=True)
        self.reference = ""

    def __deepcopy__(self, _: Any) -> HeldFrame:
        return self

    def put(self, path: Path) -> Blob:
        """See ``Files.put``."""
        hasher = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                hasher.update(chunk)
        blob = Blob(hasher.hexdigest(), path.stat().st_size)
        os.replace(path, self.scratch / blob.digest)
        self._blobs.append(blob)
        return blob

    def put_bytes(self, data: bytes) -> Blob:
        """See ``Files.put_bytes``."""
        draft = self.scratch / "draft"
        draft.write_bytes(data)
        return self.put(draft)

    def fetch(self, blob: Blob) -> Path:
        """See ``Files.fetch``."""
        return self.scratch / blob.digest

    def upload(self, store: ArtifactStore) -> None:
        """Put all of it into a store that may have it already."""
        store.prepare()
        for blob in self._blobs:
            if not store.exists(blob.key):
                store.upload(blob.key, self._copy(blob, self.scratch))

    def give(self, files: Files) -> None:
        """Put all of it where a step's files are."""
        for blob in self._blobs:
            files.put(self._copy(blob, files.scratch))

    def _copy(self, blob: Blob, folder: Path) -> Path:
        # What is uploaded or put may be moved away.
        copy = folder / f"{blob.digest}.copy"
        shutil.copyfile(self.scratch / blob.digest, copy)
        return copy


#: Frames of this process by reference, so that a step made from a plan finds them.
_frames: weakref.WeakValueDictionary[str, HeldFrame] = weakref.WeakValueDictionary()


def held(reference: str) -> HeldFrame | None:
    """The frame of that reference, if this process holds it."""
    return _frames.get(reference)


def hold(frame: Any, given: Mapping[str, str] | None, rows_per_shard: int) -> HeldFrame:
    """Write a frame's shards. Raises ``DataError``."""
    from zenml.datasources._columns import MisfitError, table_of, types_of
    from zenml.datasources._snapshot import check_known, check_names, shard_rows
    from zenml.datasources._types import settle
    from zenml.steps._dictionaries import with_dictionaries
    from zenml.steps._plain import encode
    from zenml.steps._tables import write_parquet

    table = _as_polars(frame)
    check_names(table.columns, _WHERE)
    if not table.height:
        raise DataError("there are columns, and no rows", where=_WHERE, remedy="give it rows")
    needed = types_of(table.schema, _WHERE)
    types = {name: settle(kind) for name, kind in needed.items()}
    check_known(given or {}, table.columns, _WHERE, "the schema")
    types |= given or {}
    result = HeldFrame()
    shards = []
    rows = shard_rows(rows_per_shard, table.width)
    for start in range(0, table.height, rows):
        try:
            shard = table_of(table.slice(start, rows), types)
        except MisfitError as error:
            place = f"{_WHERE}, row {start + error.row + 1}, column '{error.column}'"
            raise DataError(error.message, where=place, remedy=error.remedy) from error
        blob = write_parquet(with_dictionaries(shard), result)
        shards.append([blob.digest, blob.size])
    index = result.put_bytes(encode({"columns": list(types.items()), "shards": shards}))
    result.reference = f"sha256:{index.digest}:{index.size}"
    return _frames.setdefault(result.reference, result)


def _as_polars(frame: Any) -> pl.DataFrame:
    library = type(frame).__module__.partition(".")[0]
    if library == "polars":
        import polars as pl

        if isinstance(frame, pl.DataFrame):
            return frame
    if library == "pandas":
        import pandas as pd
        import polars as pl

        from zenml.steps._pandas import from_pandas

        if isinstance(frame, pd.DataFrame):
            table, _ = from_pandas(frame)
            return table.with_columns(pl.selectors.float().fill_nan(None))
    found = f"{library}.{type(frame).__name__}"
    remedies = {
        "LazyFrame": "collect it first: frame.collect()",
        "ndarray": "name its columns: polars.DataFrame(array, schema=[…])",
        "Series": "make a frame of it: frame = series.to_frame()",
    }
    raise DataError(
        f"expected a Polars or pandas frame, found {found}",
        where=_WHERE,
        remedy=remedies.get(type(frame).__name__, "make a frame of it: polars.DataFrame(…)"),
    )


def take_snapshot(source: FrameDatasource, context: StepContext) -> dict[str, Any]:
    """See ``FrameDatasource.run``."""
    from zenml.datasources._snapshot import put_together
    from zenml.steps._plain import decode

    here = held(source.frame)
    if here is not None:
        here.give(context.files)
    _, digest, size = source.frame.split(":")
    try:
        index = decode(context.files.fetch(Blob(digest, int(size))).read_bytes())
    except ObjectNotFoundError as error:
        raise DataError(
            "the rows of the frame are not in the artifact store",
            where=f"datasource '{source.name}'",
            remedy="commit it where the frame is, and pass the commit: "
            "add_datasource(source, commit_id=source.commit())",
        ) from error
    written = context.map(measure_shard, index["shards"])
    return put_together(dict(index["columns"]), written, context)


def measure_shard(payload: list[Any], files: Files) -> dict[str, Any]:
    """Unit: measure one shard, which is in the store already."""
    from zenml.steps._statistics import measure
    from zenml.steps._tables import read_parquet

    blob = Blob(*payload)
    frame = read_parquet(blob, files)
    measures = measure(frame, files)
    return {
        "rows": frame.height,
        "files": {"data": [blob.digest, blob.size]},
        "statistics": [measures.digest, measures.size],
    }
