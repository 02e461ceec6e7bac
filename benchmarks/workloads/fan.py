"""One step, as many independent steps on its output as the argument says, and one that joins them.

The branches differ in a parameter: equal ones would share one cache key, and only the first of
them would be worked on.
"""

from __future__ import annotations

import sys

from zenml.pipelines import Pipeline, step


@step
def start() -> int:
    """Give all branches their input."""
    return 0


@step
def scale(value: int, factor: int) -> int:
    """Do the work of one branch."""
    return (value + 1) * factor


@step
def join(values: list[int]) -> int:
    """Wait for all branches."""
    return sum(values)


if __name__ == "__main__":
    branches = [f"b{index}" for index in range(int(sys.argv[1]))]
    pipeline = Pipeline(name="fan")
    pipeline.add_step(start(), name="start")
    for factor, name in enumerate(branches):
        pipeline.add_step(scale(factor=factor), name=name, inputs={"value": "start"})
    pipeline.add_step(join(), name="join", inputs={"values": branches})
    pipeline.run()
