"""A project to hurt, disks to hurt it with, and what stays true of a store that was hurt."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Artifact, ArtifactStore, open_store
from zenml.core.engine import read_artifact
from zenml.core.testing import Project

SOURCES = Path(__file__).parent / "project"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A folder with the faulty pipeline and the others in it."""
    made = Project(tmp_path / "project")
    for source in SOURCES.glob("*.py"):
        shutil.copy(source, made.folder)
    yield made
    made.end_processes()


def _mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", *options, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        if os.path.ismount(folder):
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    yield from _mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that can be taken away, or made read-only."""
    yield from _mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=64m", "tmpfs")


def committed(store: ArtifactStore) -> dict[str, dict[str, str]]:
    """The steps that are finished in a store: name to outputs."""
    return {
        record["step"]: record["outputs"]
        for record in (json.loads(store.read(found.key)) for found in store.list("cache/"))
    }


def finished_units(store: ArtifactStore) -> set[str]:
    """The units of work that are finished in a store."""
    found = [json.loads(store.read(item.key)) for item in store.list("units/")]
    return {unit["result"]["part"] for unit in found}


def check_store(store: ArtifactStore) -> None:
    """Fail unless everything that a reader can see is whole, and leads to what is whole."""
    for found in store.list("data/"):
        assert hashlib.sha256(store.read(found.key)).hexdigest() == found.key.split("/")[1]
    for found in store.list("artifacts/"):
        digest = found.key.removeprefix("artifacts/").removesuffix(".json")
        artifact: Artifact = read_artifact(digest, store)
        for blob in artifact.files.values():
            assert store.exists(blob.key), f"{found.key} names {blob.key}, which is not there"
            assert len(store.read(blob.key)) == blob.size
    for outputs in committed(store).values():
        for digest in outputs.values():
            assert store.exists(f"artifacts/{digest}.json")
    for found in store.list("units/"):
        result = json.loads(store.read(found.key))["result"]
        assert store.exists(f"data/{result['digest']}"), f"{found.key} names what is not there"
    for prefix in ("runs/", "plans/", "commits/"):
        for found in store.list(prefix):
            json.loads(store.read(found.key))


class Checks:
    """The checks above, as a fixture."""

    committed = staticmethod(committed)
    finished_units = staticmethod(finished_units)
    check_store = staticmethod(check_store)

    @staticmethod
    def store_at(folder: Path) -> Any:
        """The store in a folder."""
        return open_store(str(folder))


@pytest.fixture
def checks() -> type[Checks]:
    return Checks


@pytest.fixture
def expected(project: Project, tmp_path: Path) -> Callable[[], dict[str, dict[str, str]]]:
    """What an undisturbed run commits."""

    def run() -> dict[str, dict[str, str]]:
        done = project.run("faulty.py", "--store", str(tmp_path / "undisturbed"))
        assert done.returncode == 0, done.stderr
        return committed(open_store(str(tmp_path / "undisturbed")))

    return run
