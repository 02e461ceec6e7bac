"""``python -m zenml.k8s.worker --store URL --order KEY --digest SHA256``: one index of a map.

The one command that the pods of a map start. Which index is theirs, the cluster tells them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback

from zenml.core import WorkOrder
from zenml.core.errors import StoreUnavailableError
from zenml.k8s._indexes import AGAIN, RAISED, REFUSED

__all__: list[str] = []


def main() -> int:
    """Execute the units of this pod's index; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m zenml.k8s.worker")
    parser.add_argument("--store", required=True)
    parser.add_argument("--order", required=True, metavar="KEY")
    parser.add_argument("--digest", required=True)
    given = parser.parse_args()
    try:
        order = WorkOrder.open(given.store, given.order, given.digest)
        index = int(os.environ["JOB_COMPLETION_INDEX"])
        answer = order.execute(index)
    except StoreUnavailableError as problem:
        # A folder that a pod does not see, none like it will.
        lasting = given.store.startswith("file:")
        return _end(REFUSED if lasting else AGAIN, f"the pod does not reach the store: {problem}")
    except Exception as problem:  # noqa: BLE001 - before it is a unit's, it is everybody's
        traceback.print_exception(problem)
        return _end(REFUSED, f"the pod cannot begin its work: {problem}")
    error = None if answer is None else answer.exception()
    if error is None:
        return 0
    print(f"index {index}: {error}", file=sys.stderr)
    return AGAIN if isinstance(error, StoreUnavailableError) else RAISED


def _end(code: int, words: str) -> int:
    """End with words that the cluster passes on, where the store cannot."""
    print(words, file=sys.stderr)
    with contextlib.suppress(OSError), open("/dev/termination-log", "w", encoding="utf-8") as file:
        file.write(words[:2000])
    return code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Whatever a unit has left running is not waited for.
    os._exit(code)
