"""What the campaign registers: its store."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import StoreSpec, hookimpl


@hookimpl
def zenml_artifact_stores() -> Iterator[StoreSpec]:
    """A folder that fails as it is told to."""
    yield StoreSpec(scheme="hurt", target="campaign_kit.store:HurtStore")
