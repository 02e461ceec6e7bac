"""What makes a bundle too large, and the lines that would leave it out."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from zenml.core.bundle._ignore import line_for
from zenml.core.bundle._walk import IGNORE_FILE, Found
from zenml.core.errors import Problem

__all__ = ["budget_problems", "in_bytes"]

_SHOWN = 10


def budget_problems(files: Iterable[Found], budget: int) -> list[Problem]:
    """Nothing, if the files fit; otherwise the sum, and the ten largest files or folders."""
    root = _Node("", is_folder=True)
    for file in files:
        root.add(file.path.split("/"), file.size)
    if root.size <= budget:
        return []
    summary = Problem(
        "",
        f"{in_bytes(root.size)} in {root.count:,} files, over the budget of {in_bytes(budget)}; "
        "these are the largest",
    )
    largest = heapq.nlargest(_SHOWN, _offenders(root, ""), key=lambda item: item[1].size)
    # What makes up less than a hundredth is not in the way, unless nothing makes up more.
    largest = [item for item in largest if 100 * item[1].size >= root.size] or largest
    return [summary, *(_problem(path, node) for path, node in largest)]


def _problem(path: str, node: _Node) -> Problem:
    line = line_for(path, folder=node.is_folder)
    shown = f"{path}/" if node.is_folder else path
    files = f" in {node.count:,} file{'s' if node.count > 1 else ''}" if node.is_folder else ""
    return Problem(shown, in_bytes(node.size) + files, f"add {line} to {IGNORE_FILE}")


class _Node:
    """A file, or a folder with what it sums up to."""

    __slots__ = ("children", "count", "is_folder", "name", "size")

    def __init__(self, name: str, *, is_folder: bool) -> None:
        self.name = name
        self.is_folder = is_folder
        self.size = 0
        self.count = 0
        self.children: dict[str, _Node] = {}

    def add(self, parts: list[str], size: int) -> None:
        node = self
        for index, part in enumerate(parts):
            node.size += size
            node.count += 1
            last = index == len(parts) - 1
            node = node.children.setdefault(part, _Node(part, is_folder=not last))
        node.size += size
        node.count += 1

    @property
    def is_taken_apart(self) -> bool:
        """Whether naming the folder would be too coarse.

        It is, if one thing in it makes up half of it, and if it holds code: nobody should be told
        to leave that out.
        """
        if not self.is_folder:
            return False
        children = self.children.values()
        return any(
            2 * child.size > self.size or (not child.is_folder and child.name.endswith(".py"))
            for child in children
        )


def _offenders(root: _Node, prefix: str) -> Iterator[tuple[str, _Node]]:
    stack = [(prefix, root)]
    while stack:
        path, node = stack.pop()
        for child in node.children.values():
            below = f"{path}/{child.name}" if path else child.name
            if child.is_taken_apart:
                stack.append((below, child))
            else:
                yield below, child


def in_bytes(count: int) -> str:
    """A number of bytes for people: ``12.3 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
