"""The map of ``engines.py`` on one of our backends; says as JSON what the client has seen of it."""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from pathlib import Path

from zenml.core import MapContext, Unit, open_store


def peak() -> float:
    """The largest resident set of this process so far, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    backend = getattr(importlib.import_module(told["module"]), told["backend"])(
        **told["parameters"]
    )
    store = open_store(told["store"])
    store.prepare()
    here = str(Path(__file__).parent)
    context = MapContext(store=store.url, scope="units/bench", step="bench", import_roots=(here,))
    units = [
        Unit("workload:work", {"number": number, "seconds": told["seconds"]}, "bench")
        for number in range(told["count"])
    ]
    before, clock, started = peak(), time.time(), time.monotonic()
    begun = [result["begun"] for _, result in backend.map(units, context)]
    assert len(begun) == told["count"]
    found = {
        "seconds": time.monotonic() - started,
        "first": min(begun) - clock,
        "span": max(begun) - min(begun),
        "mib": peak() - before,
    }
    print(json.dumps(found))
