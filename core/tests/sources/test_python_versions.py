"""One source has one digest, whichever Python reads it."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zenml.core.sources import _closure

#: What the syntax trees of Python 3.10 to 3.13 spell differently, and everything else besides.
SAMPLE = r'''
"""Docstring of the module."""
from __future__ import annotations
import os, sys as system
from os import path as p, sep
from . import sibling
type_comment = []  # type: list[int]
text = u"prefix" r"\raw" "joined" 'ünïcødé' "\N{GRINNING FACE}" "\ud800" "\x00" ""
raw = b"\xff" rb"\raw"
numbers = 0, -1, 1.0, 1e300 * 10, 1e-320, 1_000, 0xFF, 2j, True, None, ..., 2**100
width, y, z = 3, 4, 5
formatted = f"{text!r:>{width}}" f"{width:<{y}} : {z}" f"{z=}" f"{z:}" f"{{}}" f"{width:{y}.{z}f}"
nested = f"{f'{width}' + 'a':^{max(map(len, [text])) + 1}}: {z}"
def f(a, /, b: int = 1, *args: int, c, d=2, **kw) -> "str":
    """Docstring of a function.

        Indented.
    """
    global width; width += 1
    def g():
        nonlocal b; b = (n := 3)
        yield n; x = yield; yield from []
        return
    with open(a) as one, open(b): pass
    try: pass
    except (ValueError, OSError) as error: raise KeyError from error
    except Exception: raise
    else: ...
    finally: del a, kw["x"], kw.y
    match a:
        case 1 | -1 | "s" | None: pass
        case [1, *rest] if rest: pass
        case {"k": v, **others}: pass
        case Point(x=0, y=q) as whole: pass
        case _: assert a, "message"
    return lambda *a, k=1: [*a, {**kw}, {1, 2}, a[1:2, ..., ::3], not a, ~b, a if b else c]
async def co():
    async with a as b: await b
    async for i in b: continue
    return [x async for x in b if x if not x], {k: v for k, v in b}, {s for s in b}, (e for e in b)
@property
class C(Base, metaclass=M, **options):
    attribute: int
    other: int = 1
    (parenthesised): int = 2
    def method(self): super().method(); self.x: int = 1; print(*a, **b); return 1 < 2 <= 3 != 4
while True:
    break
else:
    pass
for x, (y, *z) in []: pass
'''


def _others() -> list[str]:
    names = [f"python3.{minor}" for minor in range(10, 16)]
    return [name for name in names if name != f"python3.{sys.version_info.minor}"]


def _program() -> str:
    """The digest's own source, with nothing that another Python would have to have installed."""
    tree = ast.parse(Path(_closure.__file__).read_text(encoding="utf-8"))
    wanted = ("_digest", "_UNSPOKEN", "_Label", "_END")
    taken = []
    for node in tree.body:
        names = {getattr(node, "name", "")}
        if isinstance(node, ast.Assign):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if names & set(wanted):
            taken.append(ast.unparse(node))
    return "\n".join(
        [
            "from __future__ import annotations",
            "import ast, hashlib, json, sys, warnings",
            "warnings.simplefilter('ignore')",
            *taken,
            "texts = json.load(sys.stdin)",
            "print(json.dumps([_digest(ast.parse(text).body) for text in texts]))",
        ]
    )


@pytest.mark.parametrize("python", _others())
def test_every_python_gives_the_same_digests(python: str) -> None:
    found = shutil.which(python)
    if (
        found is None
        or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{python} is not on PATH")
    package = Path(_closure.__file__).parents[1]
    texts = [SAMPLE, *(path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py")))]

    answer = subprocess.run(
        [found, "-I", "-c", _program()],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(answer.stdout) == [_closure._digest(ast.parse(text).body) for text in texts]


def test_the_digest_is_what_it_always_was() -> None:
    # It is part of every cache key: where this test has to be changed, every cache is emptied.
    source = 'def work(values):\n    """Sum."""\n    return sum(values) + 1.5  # comment\n'

    assert _closure._digest(ast.parse(source).body) == PINNED


PINNED = "9b8f6f7c809c1c4bf243ea04ac7dd15e351055950265f357ebf309de952a8b5e"
