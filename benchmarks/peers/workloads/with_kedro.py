"""kedro: nodes over a catalogue in memory, run by the sequential runner.

That is what ``kedro run`` comes down to, without a project's configuration and hooks. Its project
template logs with colours at the level of information, which costs more than the steps.
"""
# mypy: ignore-errors
# kedro is installed only where this script runs.

import logging
import sys

from kedro.framework.project import LOGGING  # noqa: F401 - configures logging when imported
from kedro.io import DataCatalog
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner


def start() -> int:
    """Give the first value."""
    return 0


def increment(value: int) -> int:
    """Add one."""
    return value + 1


def join(*values: int) -> int:
    """Add up all branches."""
    return sum(values)


def chain(size: int) -> list:
    """Return nodes, each on the output of the one before."""
    nodes = [node(start, None, "v0", name="s0")]
    nodes += [node(increment, f"v{i - 1}", f"v{i}", name=f"s{i}") for i in range(1, size)]
    return nodes


def fan(size: int) -> list:
    """Return nodes on one output, and the node that joins theirs."""
    names = [f"v{i}" for i in range(size)]
    nodes = [node(start, None, "source", name="start")]
    nodes += [node(increment, "source", name, name=f"make-{name}") for name in names]
    nodes.append(node(join, names, "joined", name="join"))
    return nodes


if __name__ == "__main__":
    logging.getLogger("kedro").setLevel(logging.WARNING)
    shape, size = sys.argv[1], int(sys.argv[2])
    graph = pipeline(chain(size) if shape == "chain" else fan(size))
    (dataset,) = SequentialRunner().run(graph, DataCatalog()).values()
    value = dataset.load()
    if value != (size - 1 if shape == "chain" else size):
        sys.exit(f"wrong value {value}")
