"""Rows of a data frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

from zenml.core import StepContext
from zenml.core.errors import Problem
from zenml.datasources._table import TableDatasource

__all__ = ["FrameDatasource", "PandasDatasource"]

_REFERENCE = re.compile(r"sha256:[0-9a-f]{64}:\d+")


class FrameDatasource(TableDatasource):
    """Rows of a Polars or pandas frame that this process holds.

    ::

        source = FrameDatasource(name="flights", frame=frame)
        pipeline.add_datasource(source, commit_id=source.commit())

    The rows are typed and written to a temporary folder at once, so what becomes of the frame later
    makes no difference. ``commit()`` puts them into the artifact store. A plan names them by their
    digest and holds none of them; so a run on another machine, or one that is detached, needs the
    commit, and a run in this process does not.

    Types are those of ``ParquetDatasource``. A NaN of a pandas frame is missing, since pandas means
    just that; one of a Polars frame is a value. The index of a pandas frame is no column:
    ``frame.reset_index()`` makes it one.

    Parameters:
        name: Under which its commits are listed.
        frame: The frame. It reads as ``sha256:<digest>:<size>`` afterwards.
        schema: Other types for some columns: ``boolean``, ``integer``, ``float`` or ``string``. A
            value that cannot be of that type without loss is an error, and no text is parsed.
        rows_per_shard: Rows in each shard of the snapshot. A shard ends earlier at 8,388,608
            values.

    Raises:
        DataError: the frame has no rows, or a column that no dataset holds. Raised when the
            datasource is made, except that rows which are not there are found missing by the run.
    """

    #: Keeps the rows on disk while the datasource is alive.
    _held: ClassVar[Any] = None

    frame: str

    def __init__(self, **parameters: Any) -> None:
        given = parameters.get("frame")
        if given is not None and not isinstance(given, str):
            # Everything else is checked first, and by the same code.
            super().__init__(**{**parameters, "frame": f"sha256:{'0' * 64}:0"})
            from zenml.datasources._held_frames import hold

            self.__dict__["_held"] = hold(given, self.schema, self.rows_per_shard)
            self.__dict__["frame"] = self.__dict__["_held"].reference
            return
        super().__init__(**parameters)
        from zenml.datasources._held_frames import held

        self.__dict__["_held"] = held(self.frame)

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """See ``Settings.validate``."""
        if not _REFERENCE.fullmatch(self.frame):
            remedy = "to read a file, use CSVDatasource or ParquetDatasource"
            yield Problem("frame", "expected a Polars or pandas frame, found text", remedy)
        yield from super().validate()

    def commit(self) -> str:
        """Put the rows into the repository's artifact store, and commit them."""
        if self._held is not None:
            from zenml.repo import Repository

            self._held.upload(Repository.get_instance().artifact_store)
        return super().commit()

    def run(self, context: StepContext) -> dict[str, Any]:
        """Take the snapshot: ``examples`` (a Dataset), ``statistics`` and ``schema``."""
        from zenml.datasources._held_frames import take_snapshot

        return take_snapshot(self, context)


#: The name that earlier versions reserved.
PandasDatasource = FrameDatasource
