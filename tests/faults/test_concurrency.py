"""Several processes that run the same pipeline at once in the same store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zenml.core.testing import Project, wait_until


def run_at_once(project: Project, store: Path, modes: list[str]) -> list[dict[str, list[str]]]:
    """Start one process per mode, let them go at the same moment; step to digests of each."""
    go = project.folder / "go"
    processes = [
        project.start("faulty.py", "--mode", mode, "--store", str(store), "--wait-for", str(go))
        for mode in modes
    ]
    for process in processes:
        assert process.stdout is not None
        line = process.stdout.readline
        assert wait_until(line, what="every process to be ready") == "ready\n"
    go.touch()
    ended = [process.communicate(timeout=120) for process in processes]
    go.unlink()
    for process, (_, err) in zip(processes, ended, strict=True):
        assert process.returncode == 0, err
        assert err == ""
    lines = [out.splitlines()[1:] for out, _ in ended]
    return [{line.split()[0]: line.split()[2:] for line in told} for told in lines]


def test_all_succeed_and_agree(
    project: Project, checks: Any, expected: Callable[[], Any], tmp_path: Path
) -> None:
    wanted = {step: list(outputs.values()) for step, outputs in expected().items()}
    for attempt in range(3):
        store = checks.store_at(tmp_path / f"store{attempt}")

        told = run_at_once(project, store.root, ["threads"] * 3)

        assert told == [wanted] * 3
        checks.check_store(store)
        assert list(store.drafts_folder().iterdir()) == []
        listed = project.zenml("run", "list", "--store", str(store.root), "--json")
        statuses = [run["status"] for run in json.loads(listed.stdout)]
        assert statuses == ["succeeded"] * 3


def test_threads_and_processes_agree_in_one_store(
    project: Project, checks: Any, tmp_path: Path
) -> None:
    store = checks.store_at(tmp_path / "store")

    first, second = run_at_once(project, store.root, ["threads", "processes"])

    assert first == second
    checks.check_store(store)
