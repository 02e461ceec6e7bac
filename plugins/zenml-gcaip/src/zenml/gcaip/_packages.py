"""Packages for Google's prebuilt images: wheels of what no index has, and one that names the rest.

Each is staged under its content, so that it is sent once, and what is there is never changed.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from zenml.core import Job, open_store
from zenml.core.errors import ConfigurationError, Problem
from zenml.core.image import write_packages
from zenml.gcaip._options import VertexOptions

__all__ = ["Package", "folder_of", "packages_for", "stage"]

#: The distribution that a wheel without modules is of; all that it does is to need others.
_NEEDS: Final = "zenml-job-requirements"

#: The time that everything in it has: the earliest that a zip archive knows.
_TIME: Final = (1980, 1, 1, 0, 0, 0)

#: A name and an exact version, as ``write_packages`` has it.
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==(.+)")

#: A package: its key below the folder of jobs, and its bytes.
Package = tuple[str, bytes]


def packages_for(options: VertexOptions, job: Job) -> tuple[Package, ...]:
    """What has to be staged for a job, in the order in which it is installed.

    Raises:
        ConfigurationError: something that the job needs has no package that a GPU could use, or
            none that could be made here.
    """
    requires = tuple(sorted({"zenml-core": _core(), **job.requires}.items()))
    return _made(requires, job.store.partition("?")[0], tuple(options.requirements))


def stage(options: VertexOptions, packages: Sequence[Package]) -> None:
    """Put packages into the folder of jobs, unless they are there. Raises ``StoreError``."""
    store = open_store(folder_of(options))
    for key, data in packages:
        store.write_if_absent(key, data)


def folder_of(options: VertexOptions) -> str:
    """The folder of jobs as the URL of a store: with the same key, and as the same account."""
    how = {
        "kms_key_name": options.kms_key_name,
        "impersonate_service_account": options.impersonate_service_account,
    }
    query = "&".join(f"{name}={value}" for name, value in how.items() if value is not None)
    return options.job_dir.rstrip("/") + (f"?{query}" if query else "")


def _core() -> str:
    from importlib import metadata

    return metadata.version("zenml-core")


@functools.lru_cache(maxsize=4)
def _made(
    requires: tuple[tuple[str, str], ...], store: str, further: tuple[str, ...]
) -> tuple[Package, ...]:
    # Kept: this process goes on with the code that it has, whatever becomes of its source.
    _refuse_builds_without_gpu(dict(requires))
    with tempfile.TemporaryDirectory(prefix="zenml-packages-") as folder:
        found = write_packages(Path(folder), dict(requires), store)
        files = [(wheel.name, wheel.read_bytes()) for wheel in found.wheels]
    wanted = sorted({*found.requirements, *further})
    if wanted:
        # First, so that nothing newer is fetched for those that follow.
        files.insert(0, _needing(wanted))
    return tuple((f"packages/{_sha256(data)[:32]}/{name}", data) for name, data in files)


def _refuse_builds_without_gpu(requires: dict[str, str]) -> None:
    problems = []
    for name, version in requires.items():
        plain, _, local = version.partition("+")
        if local.startswith("cpu"):
            remedy = f"pip install {name}=={plain}, from an index that has it, and run again"
        elif name.endswith("-cpu"):
            remedy = f"pip uninstall {name}; pip install {name.removesuffix('-cpu')}=={version}"
        else:
            continue
        message = f"the trainer uses {version} here, which is built without GPU and would be there"
        problems.append(Problem(name, message, f"{remedy}; or give an image="))
    if problems:
        raise ConfigurationError("a trainer on a GPU cannot be given these packages", problems)


def _needing(requirements: Sequence[str]) -> tuple[str, bytes]:
    """The name and the bytes of a wheel that holds nothing, and needs all of them."""
    name = _NEEDS.replace("-", "_")
    listed = "".join(f"Requires-Dist: {requirement}\n" for requirement in requirements)
    version = f"0.{int(_sha256(listed.encode())[:12], 16)}"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {_NEEDS}\nVersion: {version}\n{listed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: zenml-gcaip\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={_urlsafe(text)},{len(text)}\n" for path, text in files.items()
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, _TIME), text)
    return f"{name}-{version}-py3-none-any.whl", made.getvalue()


def _urlsafe(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
