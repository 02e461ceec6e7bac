"""A map in a process of its own: ``python -m zenml.core.testing._map_client JSON``.

All that it is given is the backend's class and parameters, and plain data.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from typing import Any

import msgspec

from zenml.core.contracts._backend import ProcessingBackend
from zenml.core.contracts._units import MapContext, Unit
from zenml.core.sources import load

__all__: list[str] = []


def _main() -> None:
    # A shell starts what is to run in the background with Ctrl-C ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    told = json.loads(sys.argv[1])
    sys.path[:] = told["path"]
    backend: ProcessingBackend = load(told["backend"])(**told["parameters"])
    units = msgspec.convert(told["units"], list[Unit])
    results: Any = backend.map(units, msgspec.convert(told["context"], MapContext))
    try:
        with contextlib.closing(results):
            for index, result in results:
                print(json.dumps([index, result]), flush=True)
    except KeyboardInterrupt:
        print(json.dumps("interrupted"))


if __name__ == "__main__":
    _main()
