"""The user of the conformance suites: steps and units that behave well, badly, and worse.

The suites copy this file into a repository of its own, from where backends have to fetch it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from zenml.core import (
    Files,
    MapContext,
    OrchestratorBackend,
    PlanWork,
    ProcessingBackend,
    StepContext,
    StepWork,
    TrainingBackend,
    Unit,
    execute_unit,
    open_store,
)
from zenml.core.errors import DataError
from zenml.pipelines import step

#: What ``work`` returns, times its ``factor``. A case edits this line, and wants to see it.
ANSWER = 6

#: The most specific text that a log should survive.
ODD_LINE = "größe ≠ 尺寸 🎈"

#: Tells this process from any other, wherever that is.
PROCESS = uuid.uuid4().hex


class Here(OrchestratorBackend):
    """Executes plans in this process."""

    def run(self, work: PlanWork) -> None:
        """Execute the plan."""
        work.execute_here()


class InOrder(ProcessingBackend):
    """Executes units in this process, one after the other."""

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        """Execute the units."""
        for index, unit in enumerate(units):
            yield index, execute_unit(unit, context)


class TrainsHere(TrainingBackend):
    """Executes trainers in this process."""

    def train(self, work: StepWork) -> None:
        """Execute the step."""
        work.execute_here()


# -- steps ---------------------------------------------------------------------------------------


@step
def work(how: str, store: str, marks: str, factor: int = 7) -> dict[str, int]:
    """A step that any processing backend executes."""
    return _work(how, store, marks, factor)


@step(kind="training")
def train(how: str, store: str, marks: str, factor: int = 7) -> dict[str, int]:
    """The same as a trainer."""
    return _work(how, store, marks, factor)


@step
def add(left: dict[str, int], right: dict[str, int]) -> int:
    """A step with inputs."""
    return left["answer"] + right["answer"]


@step(kind="training")
def train_on(data: dict[str, int], factor: int = 1) -> int:
    """A trainer with an input."""
    return data["answer"] * factor


@step(kind="training")
def train_in_parts(context: StepContext, count: int, store: str, marks: str) -> list[int]:
    """A trainer whose machine is taken away before its third part, the first time."""
    seen = open_store(store)
    first = not any(seen.list(f"{marks}/"))
    parts = context.last_checkpoint() or []
    while len(parts) < count:
        if len(parts) == 2 and first:
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(600)
        seen.write(f"{marks}/{uuid.uuid4().hex}", b"")
        parts = [*parts, len(parts)]
        context.save_checkpoint(parts)
    return parts


@step
def rendezvous(store: str, marks: str, name: str, other: str) -> bool:
    """Whether another step was there at the same time."""
    place = open_store(store)
    place.write(f"{marks}/{name}", b"")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if place.exists(f"{marks}/{other}"):
            return True
        time.sleep(0.05)
    return False


@step
def identify(number: int) -> str:
    """In which process it ran."""
    return PROCESS


@step(kind="training")
def identify_trainer() -> str:
    """The same as a trainer."""
    return PROCESS


@step
def hold(store: str, marks: str, name: str) -> str:
    """A step that leaves a mark, and goes on until it is released."""
    place = open_store(store)
    place.write(f"{marks}/{name}-{uuid.uuid4().hex}", b"")
    _comes_true(lambda: place.exists(f"{marks}-released/{name}"), 600)
    return name


@step
def follow(before: str, store: str, marks: str) -> str:
    """A step that leaves a mark after another one."""
    open_store(store).write(f"{marks}/after-{uuid.uuid4().hex}", b"")
    return before


def _work(how: str, store: str, marks: str, factor: int) -> dict[str, int]:
    mine = f"{marks}/{uuid.uuid4().hex}"
    seen = open_store(store)
    first = not any(seen.list(f"{marks}/"))
    seen.write(mine, str(os.getpid()).encode())
    print("work begins", how)
    _behave(how, first=first)
    print("work ends", how)
    return {"answer": ANSWER * factor}


def _behave(how: str, *, first: bool) -> None:
    if how == "raise":
        raise ValueError(f"no good: {ODD_LINE}")
    if how == "exit":
        os._exit(3)
    if how == "exit 0":
        os._exit(0)
    if how == "memory error":
        raise MemoryError("too much")
    if how == "fill memory":
        # Four times what it is given; a machine without a limit survives it.
        hoard = [b"x" * (64 << 20) for _ in range(32)]
        print("held", len(hoard))
    if how == "sleep":
        time.sleep(600)
    if how == "sleep a little":
        time.sleep(1.5)
    if how == "vanish" or (how == "vanish once" and first):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    if how == "taken away once" and first:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(600)
    if how == "print":
        _print_much()
    if how == "environment":
        print("environment", *sorted(os.environ.values()))


def _print_much() -> None:
    for number in range(2000):
        print(f"line {number:05d} {ODD_LINE}")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"not utf-8: \xff\xfe\n" + b"x" * 100_000 + b"\n")
    print("the last line, without an end", end="")


# -- units ---------------------------------------------------------------------------------------


class OddError(Exception):
    """An exception that no serialiser can make again: it is not made of its ``args``."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"{number} is odd: {reason}")


@step
def spread(context: StepContext, count: int) -> list[Any]:
    """A step whose work is spread over workers."""
    return context.map(summarise, range(count))


def summarise(payload: int, files: Files) -> dict[str, Any]:
    """A bit of everything that plain data can be, and a file."""
    parts = [payload / number for number in range(1, 50)]
    path = files.scratch / "parts.txt"
    path.write_text("\n".join(map(repr, parts)))
    blob = files.put(path)
    return {
        "digest": blob.digest,
        "size": blob.size,
        "sum": sum(parts),
        "pair": (payload, ODD_LINE),
        "nothing": None,
    }


def square(payload: int, files: Files) -> int:
    """A small unit."""
    return payload * payload


def echo(payload: Any, files: Files) -> Any:
    """What it was given."""
    return payload


def put(payload: str, files: Files) -> dict[str, Any]:
    """Writes a file; returns its digest and size."""
    blob = files.put_bytes(payload.encode() * 1000)
    return {"digest": blob.digest, "size": blob.size}


def loud(payload: int, files: Files) -> int:
    """Prints what another program might take for an answer."""
    print('{"result": 1}', ODD_LINE, flush=True)
    print("a warning", file=sys.stderr, flush=True)
    os.write(1, b"not utf-8: \xff\n[0, 1]\n")
    return payload


def uneven(payload: dict[str, Any], files: Files) -> int:
    """Takes as long as it is told to."""
    time.sleep(payload["seconds"])
    return int(payload["number"])


def mark(payload: dict[str, Any], files: Files) -> int:
    """Leaves a mark that it ran, then waits."""
    number = int(payload["number"])
    _leave_mark(payload, str(number).encode())
    time.sleep(payload["seconds"])
    return number


def first_returns(payload: dict[str, Any], files: Files) -> int:
    """Whichever runs first returns at once; the others go on for longer than anybody waits."""
    if not _is_first(payload):
        time.sleep(600)
    return int(payload["number"])


def first_raises(payload: dict[str, Any], files: Files) -> int:
    """Whichever runs first raises, however often it is tried; the others leave marks."""
    if _is_first(payload):
        raise ValueError(f"no good: {ODD_LINE}")
    return mark(payload, files)


def overlap(payload: dict[str, Any], files: Files) -> bool:
    """Whether another one that was given the same ``marks`` runs at the same time."""
    _leave_mark(payload)
    store, prefix = open_store(payload["store"]), f"{payload['marks']}/"
    return _comes_true(lambda: len(list(store.list(prefix))) > 1, payload["seconds"])


def wait(payload: dict[str, Any], files: Files) -> bool:
    """Waits for an object in the store; returns whether it came."""
    store = open_store(payload["store"])
    return _comes_true(lambda: store.exists(payload["key"]), payload["seconds"])


def poison(payload: int, files: Files) -> int:
    """Raises if its payload is 13."""
    if payload == 13:
        raise ValueError(f"a poisonous unit: {ODD_LINE}")
    return payload


def odd(payload: int, files: Files) -> int:
    """Raises an exception of its own if its payload is odd."""
    if payload % 2:
        raise OddError(payload, ODD_LINE)
    return payload


def data_error(payload: int, files: Files) -> int:
    """Raises one of ZenML's own."""
    raise DataError(f"a row is wrong: {ODD_LINE}", where="rows.csv:3", remedy="mend it")


def leave(payload: int, files: Files) -> int:
    """Calls ``sys.exit()``."""
    sys.exit(f"a unit left: {ODD_LINE}")


def die_once(payload: dict[str, Any], files: Files) -> int:
    """Ends its worker the first time that it is tried."""
    first = open_store(payload["store"]).write_if_absent(f"{payload['marks']}/first", b"")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return int(payload["number"])


def die(payload: Any, files: Files) -> int:
    """Ends its worker whenever it is tried."""
    os._exit(9)


def object_result(payload: Any, files: Files) -> Any:
    """Returns what is not plain data."""
    return object()


def _leave_mark(payload: dict[str, Any], data: bytes = b"") -> None:
    open_store(payload["store"]).write(f"{payload['marks']}/{uuid.uuid4().hex}", data)


def _is_first(payload: dict[str, Any]) -> bool:
    """Whether this unit was the first of those with its ``first`` to run, now or when retried."""
    store, mine = open_store(payload["store"]), str(payload["number"]).encode()
    return store.write_if_absent(payload["first"], mine) or store.read(payload["first"]) == mine


def _comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
