"""prefect: tasks of a flow, reported to a local server; results are local files.

The policy keys results by inputs and source, so that a second run is served from the cache;
prefect's default adds the run's id and never is.
"""
# mypy: ignore-errors
# prefect is installed only where this script runs.

import sys
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

OPTIONS = {"cache_policy": INPUTS + TASK_SOURCE, "persist_result": True}


@task(**OPTIONS)
def start(value: int) -> int:
    """Give the first value."""
    return value


@task(**OPTIONS)
def increment(value: int) -> int:
    """Add one."""
    return value + 1


@task(**OPTIONS)
def scale(value: int, factor: int) -> int:
    """Do the work of one branch."""
    return value * factor


@task(**OPTIONS)
def join(values: list[int]) -> int:
    """Add up all branches."""
    return sum(values)


@flow
def chain(first: int, size: int) -> int:
    """Run steps, each on the output of the one before."""
    value = start(first)
    for _ in range(size - 1):
        value = increment(value)
    return value


@flow
def fan(first: int, size: int) -> int:
    """Run steps on one output, as concurrently as prefect likes, and one that joins theirs."""
    source = start(first)
    return join(scale.map(source, list(range(size))))


if __name__ == "__main__":
    shape, number = sys.argv[1], int(sys.argv[2])
    origin = int(Path("first.txt").read_text())
    result = chain(origin, number) if shape == "chain" else fan(origin, number)
    expected = origin + number - 1 if shape == "chain" else origin * number * (number - 1) // 2
    if result != expected:
        sys.exit(f"wrong value {result}")
