"""Values to artifacts and back: plain data by the core, everything else by registered formats."""

from __future__ import annotations

from typing import Any

from zenml.core._canonical import canonical, check_plain, from_json
from zenml.core.contracts._artifact import Artifact, ArtifactFormat, Files
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import BackendError, IntegrityError, ZenMLError
from zenml.core.plugins._registry import Registry, known_offers, load_target

__all__ = ["load_value", "read_artifact", "save_value", "write_artifact"]

JSON = "json"

#: Plain values of at most this many bytes are kept in the manifest itself.
_INLINE = 64 * 1024


def save_value(value: Any, files: Files, registry: Registry) -> Artifact:
    """Make an artifact of a value that a step returned.

    Raises:
        ZenMLError: nothing installed can store a value of that type.
    """
    if isinstance(value, Artifact):
        return value
    unfit = check_plain(value)
    if unfit is None:
        data = canonical(value)
        if len(data) <= _INLINE:
            return Artifact(format=JSON, value=value)
        return Artifact(format=JSON, files={"value.json": files.put_bytes(data)})
    offer = registry.format_for(value)
    if offer is None:
        raise ZenMLError(f"it cannot be stored: {unfit}", remedy=_how_to_store(value, registry))
    artifact_format: ArtifactFormat = load_target(offer)()
    return artifact_format.save(value, files)


def _how_to_store(value: Any, registry: Registry) -> str:
    known = [row for row in known_offers() if row["kind"] == "format"]
    types = {f"{cls.__module__}:{cls.__qualname__}" for cls in type(value).__mro__}
    for row in known:
        if row["python_type"] in types:
            return registry.how_to_get("format", row["type"])
    others = ", ".join(sorted({row["distribution"] for row in known}))
    return (
        "return plain data (numbers, text, lists, dictionaries), bytes, a pathlib.Path, or a type "
        f"that an installed plugin stores (published: {others})"
    )


def load_value(artifact: Artifact, files: Files, registry: Registry) -> Any:
    """Read the value back. Raises ``BackendError`` if its format is not installed."""
    if artifact.format == JSON:
        if "value.json" in artifact.files:
            return from_json(files.fetch(artifact.files["value.json"]).read_bytes())
        return artifact.value
    try:
        artifact_format: ArtifactFormat = load_target(registry.find("format", artifact.format))()
    except BackendError as error:
        raise BackendError(
            f"an artifact of format '{artifact.format}' cannot be read: {error.message}",
            where=f"artifact {artifact.digest[:12]}",
            remedy=error.remedy,
        ) from error
    return artifact_format.load(artifact, files)


def artifact_key(digest: str) -> str:
    """Where an artifact's manifest is stored."""
    return f"artifacts/{digest}.json"


def write_artifact(artifact: Artifact, store: ArtifactStore) -> str:
    """Store a manifest, after the bytes that it names; returns its digest."""
    key = artifact_key(artifact.digest)
    if not store.write_if_absent(key, artifact.encoded) and store.read(key) != artifact.encoded:
        store.write(key, artifact.encoded)  # what is there is damaged
    return artifact.digest


def read_artifact(digest: str, store: ArtifactStore) -> Artifact:
    """Read a manifest. Raises ``ObjectNotFoundError`` or ``IntegrityError``."""
    if len(digest) != 64:
        raise IntegrityError("not the digest of an artifact", where=digest)
    return Artifact.decode(store.read(artifact_key(digest)), digest)
