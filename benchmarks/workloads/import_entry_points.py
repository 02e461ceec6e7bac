"""Times the least that any discovery must do, with the standard library alone.

Reads the entry points of the group and imports the modules that they name. The time is appended to
the argument's file.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module, metadata
from pathlib import Path

# pluggy is what every plugin's light module needs; its import is nobody's discovery.
from zenml.core import plugins  # noqa: F401

if __name__ == "__main__":
    started, cpu = time.perf_counter(), time.process_time()
    for entry in metadata.entry_points(group="zenml.plugins"):
        import_module(entry.module)
    taken = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    with Path(sys.argv[1]).open("a") as file:
        file.write(json.dumps(taken) + "\n")
