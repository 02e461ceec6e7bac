"""What happens in a run, in order, and the one moment at which everything waits for the fault.

A run has a folder. ``fault.json`` in it says what is to go wrong, ``journal`` what has happened:
each writing to the store, before and after, and what the steps say of themselves. The process that
writes the event with the fault's number stops there until the fault has been injected.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from functools import cache
from typing import Any

#: The environment variable that leads a process to the folder of its run.
FOLDER = "CAMPAIGN"

#: Bytes of an event in the journal.
WIDTH = 200

#: Seconds that a process waits for the fault at most.
_PATIENCE = 20.0


def role() -> str:
    """What this process is in a run: client, supervisor or child."""
    if "zenml.core.runner" not in sys.orig_argv:
        return "client"
    return "child" if "--child" in sys.orig_argv else "supervisor"


@cache
def fault_of(folder: str) -> dict[str, Any]:
    """What is to go wrong in the run of a folder."""
    try:
        with open(f"{folder}/fault.json", encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def note(what: str, folder: str | None = None) -> None:
    """Write down that something happens; if this is the moment of the fault, wait for it."""
    place = folder or os.environ[FOLDER]
    number = count(f"{place}/journal", f"{role()} {os.getpid()} {what}")
    fault = fault_of(place)
    if number != fault.get("event"):
        return
    if fault["kind"] in ("outage", "slow"):
        replace(f"{place}/window", str(time.monotonic() + fault["seconds"]))
        return
    replace(f"{place}/moment", what)
    deadline = time.monotonic() + _PATIENCE
    while not os.path.exists(f"{place}/acted") and time.monotonic() < deadline:
        time.sleep(0.002)


def count(path: str, what: str) -> int:
    """Add a line to a file; gives its number, from 0 on."""
    line = what.encode()[: WIDTH - 1].ljust(WIDTH - 1) + b"\n"
    with open(path, "ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line)
        return file.tell() // WIDTH - 1


def replace(path: str, text: str) -> None:
    """Put a file in place as a whole."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(draft, path)
