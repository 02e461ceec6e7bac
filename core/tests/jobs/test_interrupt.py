"""What the first Ctrl-C is answered with."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Interrupts itself while it writes to the stream that the answer goes to, as a terminal may.
PROGRAM = """
import io, os, signal, threading, time
from zenml.core.jobs._interrupt import Interrupt

signal.signal(signal.SIGINT, signal.default_int_handler)
pressed = False

class Pressing(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        global pressed
        if not pressed:
            pressed = True
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)  # here the interpreter runs the handler
        return os.write(1, data)

stream = io.TextIOWrapper(io.BufferedWriter(Pressing()))
answered = threading.Event()

def answer():
    print("press again to force", file=stream, flush=True)
    answered.set()

with Interrupt(answer) as interrupt:
    print("waiting", file=stream, flush=True)
    assert interrupt.asked
    answered.wait(10)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals to a process of one's own")
def test_it_is_answered_also_while_the_stream_is_written_to() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "waiting\npress again to force\n", done.stderr
    assert done.returncode == 0
