"""Plugins: hooks to implement and specs to return. The registry of what is installed is private."""

from zenml.core.plugins._specs import (
    API_VERSION,
    BackendInfo,
    BackendSpec,
    FormatSpec,
    Status,
    StoreSpec,
)
from zenml.core.plugins.hookspecs import hookimpl

__all__ = [
    "API_VERSION",
    "BackendInfo",
    "BackendSpec",
    "FormatSpec",
    "Status",
    "StoreSpec",
    "hookimpl",
]
