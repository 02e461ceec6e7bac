"""The example, as its README says, against the stand-in."""

from __future__ import annotations

from collections.abc import Callable


def test_the_example_runs(run_example: Callable[..., str]) -> None:
    said = run_example("dataflow/process_on_dataflow.py")
    assert "Arrives more than 15 minutes late?" in said
    assert "preprocesser succeeded" in said
