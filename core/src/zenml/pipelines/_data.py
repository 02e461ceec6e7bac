"""The pipeline that takes a snapshot of a datasource."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.core.errors import Problem
from zenml.pipelines._datasource import Datasource
from zenml.pipelines._pipeline import Pipeline

__all__ = ["DataPipeline"]


class DataPipeline(Pipeline):
    """One step, ``data``: the snapshot of a datasource. ``datasource.commit()`` runs it."""

    kind: ClassVar[str] = "data"

    def __init__(self, datasource: Datasource | None = None, **options: Any) -> None:
        if datasource is not None:
            options = {"name": f"commit {datasource.name}", **options, "datasource": datasource}
        super().__init__(**options)

    def _missing(self) -> list[Problem]:
        if self._datasource is None:
            return [Problem("datasource", "is missing", "call add_datasource(…)")]
        return []
