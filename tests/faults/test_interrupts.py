"""Ctrl-C: once, what runs comes to a point where it can stop; twice, it is left at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Run
from zenml.core.testing import Project, processes_of_group, wait_until


@pytest.mark.parametrize(
    ("kind", "begun", "needed"),
    [
        ("step", 2, 1),
        ("cooperative", 3, 1),
        ("units in processes", 3, 1),
        ("steps", 3, 2),
        ("units in threads", 3, 2),
        ("steps with units in threads", 5, 2),
        ("steps with units in processes", 5, 2),
    ],
)
@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "terminal"])
def test_it_ends_the_run_with_a_record_and_leaves_nothing_behind(
    project: Project,
    checks: Any,
    tmp_path: Path,
    kind: str,
    begun: int,
    needed: int,
    *,
    whole_group: bool,
) -> None:
    store, journal = tmp_path / "store", tmp_path / "journal.txt"

    def noted(what: str) -> int:
        return journal.read_text().count(what) if journal.exists() else 0

    with project.start(
        "stubborn.py", kind, str(store), variables={"JOURNAL": str(journal)}
    ) as process:
        wait_until(
            lambda: noted("begun") == begun or process.poll() is not None,
            what=f"{begun} beginnings",
        )
        assert process.poll() is None, process.communicate()
        for number in range(needed):
            # A terminal sends it to every process of the group.
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
            wait_until(
                lambda number=number: noted(f"interrupt {process.pid}") > number,
                what="the interrupt",
            )
        out, err = process.communicate(timeout=30)
    wait_until(lambda: not processes_of_group(process.pid), what="the end of every process")

    assert process.returncode in (-signal.SIGINT, 130), (out, err)
    # One traceback, of the process that the user started: none of its workers says anything.
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "_worker" not in err
    assert noted("begun") == begun
    assert noted("interrupt") == needed
    found = checks.store_at(store)
    checks.check_store(found)
    assert list(checks.committed(found)) == ["finished"]
    [run_id] = {item.key.split("/")[1] for item in found.list("runs/")}
    run = Run(run_id, found)
    assert run.status == "cancelled"
    assert run.steps["finished"].status == "succeeded"
    if needed == 1:
        assert {name: record.status for name, record in run.steps.items()} == {
            "finished": "succeeded",
            **{f"last{number}": "cancelled" for number in range(2) if f"last{number}" in run.steps},
        }
        assert len(run.steps) == len(run.plan.steps)
        assert list(found.drafts_folder().iterdir()) == []
    if kind == "cooperative":
        assert noted("ended") == 2


def test_the_command_says_that_it_was_cancelled(project: Project, tmp_path: Path) -> None:
    journal = tmp_path / "journal.txt"
    arguments = ["run", "stubborn.py", "step", str(tmp_path / "store")]
    with project.start(
        "-m", "_zenml_main", *arguments, variables={"JOURNAL": str(journal)}
    ) as process:
        wait_until(lambda: journal.exists() and journal.read_text().count("begun") == 2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.rstrip().endswith("cancelled")
