"""ZenML from the package index: steps of a pipeline on its default, local stack."""
# mypy: ignore-errors
# This ZenML is installed only where this script runs.

import sys
from pathlib import Path

from zenml import pipeline, step

SHAPE, SIZE = sys.argv[1], int(sys.argv[2])
FIRST = int(Path("first.txt").read_text())


@step
def start(value: int) -> int:
    """Give the first value."""
    return value


@step
def increment(value: int) -> int:
    """Add one."""
    return value + 1


@step
def scale(value: int, factor: int) -> int:
    """Do the work of one branch."""
    return value * factor


@step
def join(values: list[int]) -> int:
    """Add up all branches."""
    return sum(values)


@pipeline
def chain() -> None:
    """Run steps, each on the output of the one before."""
    value = start(FIRST)
    for _ in range(SIZE - 1):
        value = increment(value)


@pipeline
def fan() -> None:
    """Run steps on one output, and one that joins theirs."""
    source = start(FIRST)
    join([scale(source, factor) for factor in range(SIZE)])


if __name__ == "__main__":
    run = chain() if SHAPE == "chain" else fan()
    if not run.status.is_successful:
        sys.exit(f"the run ended {run.status}")
