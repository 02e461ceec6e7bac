"""Datasources: named, versioned sources of rows."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.datasources.bigquery import BigQueryDatasource
    from zenml.datasources.csv import CSVDatasource
    from zenml.datasources.frame import FrameDatasource, PandasDatasource
    from zenml.datasources.image import ImageDatasource
    from zenml.datasources.json_lines import JSONDatasource, JSONLinesDatasource
    from zenml.datasources.parquet import ParquetDatasource
    from zenml.datasources.sql import PostgresDatasource, SQLDatasource

    __all__ = [
        "BigQueryDatasource",
        "CSVDatasource",
        "FrameDatasource",
        "ImageDatasource",
        "JSONDatasource",
        "JSONLinesDatasource",
        "PandasDatasource",
        "ParquetDatasource",
        "PostgresDatasource",
        "SQLDatasource",
    ]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "BigQueryDatasource": "zenml.datasources.bigquery",
            "CSVDatasource": "zenml.datasources.csv",
            "FrameDatasource": "zenml.datasources.frame",
            "ImageDatasource": "zenml.datasources.image",
            "JSONDatasource": "zenml.datasources.json_lines",
            "JSONLinesDatasource": "zenml.datasources.json_lines",
            "PandasDatasource": "zenml.datasources.frame",
            "ParquetDatasource": "zenml.datasources.parquet",
            "PostgresDatasource": "zenml.datasources.sql",
            "SQLDatasource": "zenml.datasources.sql",
        },
    )
