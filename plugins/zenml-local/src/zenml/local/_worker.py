"""A worker process: reads units from its standard input, one JSON document a line, and answers.

Answers go to the file descriptor that was standard output when the process began; what a unit
prints goes to standard error, where it cannot be taken for an answer.
"""

from __future__ import annotations

import os
import sys
import traceback

import msgspec

from zenml.core import MapContext, Unit, execute_unit

__all__ = ["Answer", "Order", "main"]


class Order(msgspec.Struct, frozen=True):
    """A unit to execute."""

    unit: Unit
    context: MapContext


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a unit.

    Attributes:
        result: What it returned.
        error: The exception's class, if it raised.
        message: What the exception says.
        where: Place, for errors that know one.
        remedy: What to do, for errors that know that.
        trace: The traceback, as text.
    """

    result: object = None
    error: str = ""
    message: str = ""
    where: str | None = None
    remedy: str | None = None
    trace: str = ""


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        answers.write(msgspec.json.encode(_execute(order)) + b"\n")
        answers.flush()


def _execute(order: Order) -> Answer:
    try:
        return Answer(execute_unit(order.unit, order.context))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the client must hear of it
        kind = type(error)
        return Answer(
            error=f"{kind.__module__}:{kind.__qualname__}",
            message=getattr(error, "message", None) or str(error),
            where=getattr(error, "where", None),
            remedy=getattr(error, "remedy", None),
            trace=traceback.format_exc(),
        )


if __name__ == "__main__":
    main()
