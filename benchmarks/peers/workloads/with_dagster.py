"""dagster: ops of a job, run in this process against an instance that lasts.

The instance's SQLite files hold the record and the filesystem IO manager the values. Dagster's
default executor starts a process for each step instead.
"""
# mypy: ignore-errors
# dagster is installed only where this script runs.

import sys

from dagster import DagsterInstance, FilesystemIOManager, job, op

SHAPE, SIZE = sys.argv[1], int(sys.argv[2])


@op
def start() -> int:
    """Give the first value."""
    return 0


@op
def increment(value: int) -> int:
    """Add one."""
    return value + 1


@op
def join(values: list[int]) -> int:
    """Add up all branches."""
    return sum(values)


@job(resource_defs={"io_manager": FilesystemIOManager(base_dir="values")})
def workload() -> None:
    """Make a chain, or steps on one output and one that joins theirs."""
    value = start.alias("s0")()
    if SHAPE == "chain":
        for index in range(1, SIZE):
            value = increment.alias(f"s{index}")(value)
    else:
        join([increment.alias(f"b{index}")(value) for index in range(SIZE)])


if __name__ == "__main__":
    with DagsterInstance.get() as instance:
        result = workload.execute_in_process(instance=instance)
    last = result.output_for_node(f"s{SIZE - 1}" if SHAPE == "chain" else "join")
    if last != (SIZE - 1 if SHAPE == "chain" else SIZE):
        sys.exit(f"wrong value {last}")
