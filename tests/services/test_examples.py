"""The examples, as their README says, against the stand-ins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import IMAGE


@pytest.mark.parametrize(
    "example",
    [
        ["train_on_vertex.py", "--trainer", "sklearn", "--spot"],
        ["run_on_a_machine.py", "--image", IMAGE],
    ],
    ids=["vertex", "machine"],
)
def test_the_example_runs(run_example: Callable[..., str], example: list[str]) -> None:
    script, *arguments = example
    said = run_example(f"gcp/{script}", *arguments)
    assert "Arrives more than 15 minutes late?" in said
    assert "trainer succeeded" in said
