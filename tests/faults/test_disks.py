"""Disks that are full, read-only or gone: typed errors, and nothing that was committed is lost."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Run
from zenml.core.errors import StoreFullError, StoreReadOnlyError, StoreUnavailableError
from zenml.core.testing import Project, importing_from, nothing_left_behind
from zenml.local import ProcessingLocalBackend
from zenml.pipelines import Pipeline


@pytest.fixture
def steps(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The steps of ``disks.py``."""
    monkeypatch.chdir(project.folder)
    with importing_from(project.folder):
        module = importlib.import_module("disks")
        module.ran.clear()
        yield module


def run(*steps: Any, store: Any, mode: str = "threads") -> Run:
    backend = ProcessingLocalBackend(mode=mode, workers=2)  # type: ignore[arg-type]
    pipeline = Pipeline("disks", backends=[backend], artifact_store=store)
    last: Any = None
    for made in steps:
        inputs = {"value": last} if last is not None else {}
        last = pipeline.add_step(made, inputs=inputs)
    return pipeline.run()


def statuses(done: Run) -> list[str]:
    return [record.status for record in done.steps.values()]


def remount(disk: Path, options: str) -> list[str]:
    return ["mount", "-o", f"remount,{options}", str(disk)]


class TestFull:
    @pytest.mark.parametrize(
        ("how", "mode"),
        [
            ("bytes", "threads"),
            ("list", "threads"),
            ("file", "threads"),
            ("units", "threads"),
            ("units", "processes"),
        ],
    )
    def test_a_result_that_does_not_fit(
        self, small_disk: Path, steps: Any, checks: Any, how: str, mode: str
    ) -> None:
        store = checks.store_at(small_disk / "store")

        with nothing_left_behind(), pytest.raises(StoreFullError, match="zenml gc"):
            run(steps.first(), steps.too_much(how=how), store=store, mode=mode)

        checks.check_store(store)
        assert list(checks.committed(store)) == ["first"]
        assert list(store.drafts_folder().iterdir()) == []
        [run_id] = {found.key.split("/")[1] for found in store.list("runs/")}
        assert Run(run_id, store).status == "failed"

        # With more room, it goes on where it stopped.
        subprocess.run(remount(small_disk, "size=64m"), check=True)
        done = run(steps.first(), steps.too_much(how=how), store=store, mode=mode)
        assert statuses(done) == ["cached", "succeeded"]
        assert steps.ran == ["first", "too_much", "too_much"]

    def test_a_disk_that_others_filled(self, small_disk: Path, steps: Any, checks: Any) -> None:
        store = checks.store_at(small_disk / "store")
        run(steps.first(), store=store)
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "others").write_bytes(bytes(4_000_000))

        with pytest.raises(StoreFullError):
            run(steps.first(), steps.after(), store=store)
        assert list(store.drafts_folder().iterdir()) == []

        (small_disk / "others").unlink()
        assert statuses(run(steps.first(), steps.after(), store=store)) == ["cached", "succeeded"]


class TestReadOnly:
    def test_it_is_said_before_anything_runs_and_reading_goes_on(
        self, disk: Path, project: Project, steps: Any, checks: Any
    ) -> None:
        store = checks.store_at(disk / "store")
        done = run(steps.first(), store=store)
        subprocess.run(remount(disk, "ro"), check=True)

        with nothing_left_behind(), pytest.raises(StoreReadOnlyError, match="read-write"):
            run(steps.first(), steps.after(), store=store)

        assert steps.ran == ["first"]
        assert done.load("first") == 1
        digest = done.steps["first"].outputs["output"]
        for command in (
            ["run", "list"],
            ["run", "show", "last"],
            ["explain", "last", "first"],
            ["artifact", "list"],
            ["artifact", "get", digest[:12]],
            ["repo", "reindex"],
            ["gc"],
        ):
            said = project.zenml(*command, "--store", str(store.root))
            assert said.returncode == 0, said.stderr
        said = project.zenml("artifact", "rm", digest, "--store", str(store.root))
        assert said.returncode == 1
        assert said.stderr.startswith("error: the artifact store cannot be written")

        subprocess.run(remount(disk, "rw"), check=True)
        assert statuses(run(steps.first(), steps.after(), store=store)) == ["cached", "succeeded"]

    def test_no_store_can_be_made_there(self, disk: Path, steps: Any, checks: Any) -> None:
        subprocess.run(remount(disk, "ro"), check=True)

        with pytest.raises(StoreReadOnlyError):
            run(steps.first(), store=checks.store_at(disk / "store"))

    @pytest.mark.parametrize("step", ["call", "call_then_write"])
    def test_it_becomes_so_in_the_middle(
        self, disk: Path, steps: Any, checks: Any, step: str
    ) -> None:
        store = checks.store_at(disk / "store")
        breaking = getattr(steps, step)(command=remount(disk, "ro"))

        with nothing_left_behind(), pytest.raises(StoreReadOnlyError):
            run(steps.first(), breaking, steps.after(), store=store)

        checks.check_store(store)
        assert list(checks.committed(store)) == ["first"]
        subprocess.run(remount(disk, "rw"), check=True)
        assert statuses(run(steps.first(), steps.after(), store=store)) == ["cached", "succeeded"]


class TestGone:
    @pytest.fixture
    def mounted(self, tmp_path: Path, disk: Path) -> Iterator[tuple[Path, list[str]]]:
        """A folder where the disk is mounted a second time, and how to take it away."""
        folder = tmp_path / "mounted"
        folder.mkdir()
        mount = ["mount", "--bind", str(disk), str(folder)]
        subprocess.run(mount, check=True)
        yield folder, mount
        if folder.is_mount():
            subprocess.run(["umount", "--lazy", str(folder)], check=True)

    @pytest.mark.parametrize("step", ["call", "call_then_write"])
    def test_it_vanishes_in_the_middle_and_comes_back(
        self, mounted: tuple[Path, list[str]], steps: Any, checks: Any, step: str
    ) -> None:
        folder, mount = mounted
        store = checks.store_at(folder)
        breaking = getattr(steps, step)(command=["umount", "--lazy", str(folder)])

        with nothing_left_behind(), pytest.raises(StoreUnavailableError, match="mount it again"):
            run(steps.first(), breaking, steps.after(), store=store)

        assert list(folder.iterdir()) == []  # the mount point was not filled
        subprocess.run(mount, check=True)
        checks.check_store(store)
        assert list(checks.committed(store)) == ["first"]
        assert statuses(run(steps.first(), steps.after(), store=store)) == ["cached", "succeeded"]
        assert steps.ran.count("first") == 1
