"""Work that does not end by itself: ``python stubborn.py KIND STORE``.

It notes in the journal what has begun, and each interrupt when Python is about to raise it.
"""

import os
import signal
import sys
import threading

from faulty import note

from zenml.local import OrchestratorLocalBackend, ProcessingLocalBackend
from zenml.pipelines import Pipeline, StepContext, step


def interrupted(number, frame):
    note(f"interrupt {os.getpid()}")
    signal.default_int_handler(number, frame)


def block(payload, files):
    note(f"begun unit {payload}")
    threading.Event().wait()


@step
def finished() -> int:
    note("begun finished")
    return 1


@step
def stubborn(value: int, number: int) -> None:
    note(f"begun {number}")
    threading.Event().wait()


@step
def cooperative(context: StepContext, value: int, number: int) -> int:
    note(f"begun {number}")
    while not context.cancelled():
        threading.Event().wait(0.005)
    note(f"ended {number}")
    return number


@step
def mapping(context: StepContext, value: int, number: int) -> list:
    return context.map(block, [f"{number}.0", f"{number}.1"])


def pipeline(kind):
    maker, count, mode = {
        "step": (stubborn, 1, "threads"),
        "steps": (stubborn, 2, "threads"),
        "cooperative": (cooperative, 2, "threads"),
        "units in threads": (mapping, 1, "threads"),
        "units in processes": (mapping, 1, "processes"),
        "steps with units in threads": (mapping, 2, "threads"),
        "steps with units in processes": (mapping, 2, "processes"),
    }[kind]
    made = Pipeline(
        "stubborn",
        backends=[
            OrchestratorLocalBackend(max_parallel_steps=2),
            ProcessingLocalBackend(mode=mode, workers=2),
        ],
    )
    first = made.add_step(finished())
    for number in range(count):
        made.add_step(maker(number=number), name=f"last{number}", inputs={"value": first})
    return made


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupted)
    pipeline(sys.argv[1]).run(artifact_store=sys.argv[2])
