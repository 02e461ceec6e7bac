"""A chain of as many one-line steps as the argument says, each adding one to the last value.

Run it twice in one folder: the second run is served from the cache.
"""

from __future__ import annotations

import sys

from zenml.pipelines import Pipeline, step


@step
def start() -> int:
    """Give the chain its first value."""
    return 0


@step
def increment(value: int) -> int:
    """Add one, so that no two steps of the chain have equal inputs."""
    return value + 1


if __name__ == "__main__":
    pipeline = Pipeline(name="chain")
    pipeline.add_step(start(), name="s0")
    for index in range(1, int(sys.argv[1])):
        pipeline.add_step(increment(), name=f"s{index}", inputs={"value": f"s{index - 1}"})
    pipeline.run()
