"""Units that do what units should not, and the steps that map them."""

import os
import signal
import sys
import threading
from pathlib import Path

from faulty import note

from zenml.core.errors import DataError
from zenml.pipelines import StepContext, step


class OddError(Exception):
    """Can be neither pickled nor made from its arguments."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}", threading.Lock())


class WordlessError(Exception):
    """Cannot even say what it is."""

    def __str__(self):
        raise RuntimeError


def behave(payload, files):
    how, number = payload["how"], payload["number"]
    note(f"unit {number} {os.getpid()}")
    if number != payload["bad"]:
        if how == "wait for others":
            while not Path(payload["flag"]).exists():
                threading.Event().wait(0.002)
        return number
    if how == "killed once" and not Path(payload["flag"]).exists():
        Path(payload["flag"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exits":
        os._exit(7)
    elif how == "exits politely":
        raise SystemExit(7)
    elif how == "closes":
        os.closerange(0, 100)
        os.kill(os.getpid(), signal.SIGKILL)
    elif how in ("raises", "wait for others"):
        raise ValueError(f"unit {number} raised")
    elif how == "odd":
        raise OddError("this", "that")
    elif how == "wordless":
        raise WordlessError
    elif how == "surrogate":
        raise ValueError("broken \udcff name")
    elif how == "huge":
        raise ValueError("x" * 3_000_000)
    elif how == "typed":
        raise DataError("no such column", where="column 'x'", remedy="name another")
    elif how == "interrupt":
        raise KeyboardInterrupt
    elif how == "memory":
        raise MemoryError
    elif how == "prints":
        print('{"result": "a lie"}')
        sys.stdout.flush()
        os.write(1, b'{"result": "another"}\n')
        os.write(2, b"noise\n")
    elif how == "reads":
        assert sys.stdin.closed or sys.stdin.read() == ""
    elif how == "large":
        return "x" * 5_000_000
    return number


@step
def work(context: StepContext, how: str, bad: int = 3, count: int = 8, flag: str = "") -> list:
    payloads = [{"how": how, "number": n, "bad": bad, "flag": flag} for n in range(count)]
    return context.map(behave, payloads)
