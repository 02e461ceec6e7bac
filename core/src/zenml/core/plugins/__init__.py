"""Plugins: hooks to implement, specs to return, and the registry of what is installed."""

from zenml.core.plugins._registry import Registry, get_registry, reset_registry
from zenml.core.plugins._specs import (
    API_VERSION,
    BackendInfo,
    BackendSpec,
    FormatSpec,
    PluginInfo,
    Status,
    StoreSpec,
)
from zenml.core.plugins.hookspecs import hookimpl

__all__ = [
    "API_VERSION",
    "BackendInfo",
    "BackendSpec",
    "FormatSpec",
    "PluginInfo",
    "Registry",
    "Status",
    "StoreSpec",
    "get_registry",
    "hookimpl",
    "reset_registry",
]
