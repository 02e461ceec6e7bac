"""A worker process: reads units from its standard input, one JSON document a line, and answers.

Orders and answers use the pipes that were standard input and output when the process began. What a
unit prints goes to standard error, where it cannot be taken for an answer, and it finds nothing to
read.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from queue import SimpleQueue
from typing import BinaryIO

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
    # Ctrl-C in a terminal reaches every process. The client ends its workers, and says why once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    orders: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=[given, orders], daemon=True).start()
    while True:
        order = msgspec.json.decode(orders.get(), type=Order)
        answers.write(msgspec.json.encode(_execute(order)) + b"\n")
        answers.flush()


def _listen(given: BinaryIO, orders: SimpleQueue[bytes]) -> None:
    """Pass orders on until there is nobody who gives any, then end the process."""
    for line in given:
        orders.put(line)
    # At once, also amid a unit: a client that was killed must not leave its work behind.
    os._exit(0)


def _execute(order: Order) -> Answer:
    try:
        return Answer(execute_unit(order.unit, order.context))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the client must hear of it
        kind = type(error)
        return Answer(
            error=f"{kind.__module__}:{kind.__qualname__}",
            message=_text(error),
            where=getattr(error, "where", None),
            remedy=getattr(error, "remedy", None),
            trace=_trace(error),
        )


def _trace(error: BaseException) -> str:
    """The traceback from the unit's function on: who called it is the same every time."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals["__name__"].startswith("zenml."):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
    return "".join(lines).encode("utf-8", "backslashreplace").decode()


def _text(error: BaseException) -> str:
    try:
        text = str(getattr(error, "message", None) or error)
    except Exception as second:  # noqa: BLE001 - an exception that cannot be shown is still one
        text = f"(its message cannot be shown: {type(second).__name__})"
    return text.encode("utf-8", "backslashreplace").decode()


if __name__ == "__main__":
    main()
