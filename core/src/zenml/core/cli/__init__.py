"""The command line."""

from zenml.core.cli._main import main

__all__ = ["main"]
