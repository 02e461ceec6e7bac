"""What the core itself registers, through the same door as everybody else."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import FormatSpec, StoreSpec, hookimpl

__all__: list[str] = []


@hookimpl
def zenml_artifact_stores() -> Iterator[StoreSpec]:
    """The store in a local folder."""
    yield StoreSpec(
        scheme="file",
        target="zenml.core.stores:LocalArtifactStore",
        summary="A folder on this machine or on a mounted disk.",
    )


@hookimpl
def zenml_artifact_formats() -> Iterator[FormatSpec]:
    """Formats of values that Python itself knows."""
    yield FormatSpec(
        name="bytes/1",
        target="zenml.core.stores:BytesFormat",
        python_types=("builtins:bytes", "builtins:bytearray"),
    )
    yield FormatSpec(
        name="folder/1",
        target="zenml.core.stores:FolderFormat",
        python_types=("pathlib:PosixPath", "pathlib:WindowsPath", "pathlib._local:PosixPath"),
    )
