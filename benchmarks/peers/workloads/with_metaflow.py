"""metaflow: a flow with the local metadata provider and datastore.

Metaflow reads a flow's graph from the source text of its class. So this writes the flow of the
wanted size to ``flow.py``, which is then run as a user would: ``python flow.py run``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

_HEAD = "from metaflow import FlowSpec, step\n\n\nclass Workload(FlowSpec):\n"
_TAIL = '\n\nif __name__ == "__main__":\n    Workload()\n'


def method(
    name: str, lines: Sequence[str], decorator: str = "step", arguments: str = "self"
) -> str:
    """Return the source of one step."""
    body = "\n".join(f"        {line}" for line in lines)
    return f"    @{decorator}\n    def {name}({arguments}):\n{body}\n"


def chain(size: int) -> list[str]:
    """Return steps, each on the output of the one before."""
    if size == 1:
        return [method("s0", ["self.value = 0"], "step(start=True, end=True)")]
    middle = [
        method(f"s{index}", ["self.value += 1", f"self.next(self.s{index + 1})"])
        for index in range(1, size - 1)
    ]
    return [
        method("s0", ["self.value = 0", "self.next(self.s1)"], "step(start=True)"),
        *middle,
        method(
            f"s{size - 1}",
            ["self.value += 1", f"assert self.value == {size - 1}"],
            "step(end=True)",
        ),
    ]


def fan(size: int) -> list[str]:
    """Return a step whose outputs are each worked on, and one that joins the results."""
    return [
        method(
            "begin",
            [f"self.items = list(range({size}))", "self.next(self.branch, foreach='items')"],
            "step(start=True)",
        ),
        method("branch", ["self.value = self.input + 1", "self.next(self.join)"]),
        method(
            "join",
            ["self.value = sum(branch.value for branch in inputs)", "self.next(self.finish)"],
            arguments="self, inputs",
        ),
        method("finish", [f"assert self.value == {size * (size + 1) // 2}"], "step(end=True)"),
    ]


if __name__ == "__main__":
    count = int(sys.argv[2])
    methods = chain(count) if sys.argv[1] == "chain" else fan(count)
    Path("flow.py").write_text(_HEAD + "\n".join(methods) + _TAIL)
