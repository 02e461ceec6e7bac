"""Datasources: named, versioned sources of rows."""

from zenml.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CSVDatasource": "zenml.datasources.csv",
    },
)
