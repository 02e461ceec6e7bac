"""A standalone Spark cluster on loopback."""

from harness.standalone import Standalone

__all__ = ["Standalone"]
