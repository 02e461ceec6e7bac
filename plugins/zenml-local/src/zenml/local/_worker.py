"""A worker process: reads units from its standard input, one JSON document a line, and answers.

Orders and answers use the pipes that were standard input and output when the process began. What a
unit prints goes to standard error, where it cannot be taken for an answer, and it finds nothing to
read.
"""

from __future__ import annotations

import os
import signal
import threading
from queue import SimpleQueue
from typing import BinaryIO

import msgspec

from zenml.core import MapContext, Unit, answer_unit

__all__ = ["Order", "main"]


class Order(msgspec.Struct, frozen=True):
    """A unit to execute."""

    unit: Unit
    context: MapContext


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
        answers.write(msgspec.json.encode(answer_unit(order.unit, order.context)) + b"\n")
        answers.flush()


def _listen(given: BinaryIO, orders: SimpleQueue[bytes]) -> None:
    """Pass orders on until there is nobody who gives any, then end the process."""
    for line in given:
        orders.put(line)
    # At once, also amid a unit: a client that was killed must not leave its work behind.
    os._exit(0)


if __name__ == "__main__":
    main()
