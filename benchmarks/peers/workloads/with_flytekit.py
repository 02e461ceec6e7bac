"""flytekit: tasks of a workflow, executed locally.

Only with the third argument ``cache`` do tasks declare that they may be cached; values are then
kept in flytekit's local cache, and in no case a record of the run.
"""
# mypy: ignore-errors
# flytekit is installed only where this script runs.

import sys
from pathlib import Path

from flytekit import task, workflow

SHAPE, SIZE = sys.argv[1], int(sys.argv[2])
FIRST = int(Path("first.txt").read_text())
OPTIONS = {"cache": True, "cache_version": "1"} if "cache" in sys.argv[3:] else {}


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


@workflow
def chain() -> int:
    """Run steps, each on the output of the one before."""
    value = start(value=FIRST)
    for _ in range(SIZE - 1):
        value = increment(value=value)
    return value


@workflow
def fan() -> int:
    """Run steps on one output, and one that joins theirs."""
    source = start(value=FIRST)
    return join(values=[scale(value=source, factor=factor) for factor in range(SIZE)])


if __name__ == "__main__":
    result = chain() if SHAPE == "chain" else fan()
    if result != (FIRST + SIZE - 1 if SHAPE == "chain" else FIRST * SIZE * (SIZE - 1) // 2):
        sys.exit(f"wrong value {result}")
