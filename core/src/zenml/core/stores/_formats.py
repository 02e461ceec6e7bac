"""Formats for values that need no library: bytes, and a file or folder by its path."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from zenml.core.contracts._artifact import Artifact, ArtifactFormat, Blob, Files
from zenml.core.errors import IntegrityError

__all__ = ["BytesFormat", "FolderFormat"]


class BytesFormat(ArtifactFormat):
    """Stores ``bytes`` as one file."""

    name = "bytes/1"

    def save(self, value: bytes | bytearray, files: Files) -> Artifact:
        return Artifact(format=self.name, files={"content": files.put_bytes(bytes(value))})

    def load(self, artifact: Artifact, files: Files) -> bytes:
        return files.fetch(artifact.files["content"]).read_bytes()


class FolderFormat(ArtifactFormat):
    """Stores the file or folder that a ``Path`` names; it is given back as a path to a copy.

    Only regular files are kept; symbolic links are followed, empty folders are not recorded.
    """

    name = "folder/1"

    def save(self, value: Path, files: Files) -> Artifact:
        single = value.is_file()
        paths = [value] if single else sorted(path for path in value.rglob("*") if path.is_file())
        if not paths:
            raise FileNotFoundError(f"a step returned the path {value}, and there is no file")
        blobs: dict[str, Blob] = {}
        # A folder of its own: what is saved may be the scratch folder itself.
        copies = Path(tempfile.mkdtemp(dir=files.scratch))
        for path in paths:
            name = path.name if single else path.relative_to(value).as_posix()
            copy = copies / str(len(blobs))
            shutil.copyfile(path, copy)
            blobs[name] = files.put(copy)
        return Artifact(format=self.name, value={"single": single}, files=blobs)

    def load(self, artifact: Artifact, files: Files) -> Path:
        folder = files.scratch / f"folder-{artifact.digest[:12]}"
        for name, blob in artifact.files.items():
            inside = PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts:
                raise IntegrityError("an artifact names a file outside its folder", where=name)
            target = folder / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                draft = target.with_name(f"{target.name}.{os.getpid()}.tmp")
                shutil.copyfile(files.fetch(blob), draft)
                os.replace(draft, target)
        return folder / next(iter(artifact.files)) if artifact.value["single"] else folder
