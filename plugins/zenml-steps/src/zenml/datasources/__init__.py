"""Datasources: named, versioned sources of rows."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.datasources.csv import CSVDatasource

    __all__ = ["CSVDatasource"]
else:
    __getattr__, __dir__, __all__ = attach(__name__, {"CSVDatasource": "zenml.datasources.csv"})
