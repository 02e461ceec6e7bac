"""A unit of work of ``engines.py``: it takes as long as it is told, and says when it began."""

from __future__ import annotations

import time
from typing import Any


def work(payload: dict[str, Any], files: object = None) -> dict[str, Any]:  # noqa: ARG001
    begun = time.time()
    time.sleep(payload["seconds"])
    return {"number": payload["number"], "begun": begun}
