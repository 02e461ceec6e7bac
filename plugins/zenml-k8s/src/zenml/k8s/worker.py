"""``python -m zenml.k8s.worker --store URL --order KEY --digest SHA256``: one index of a map.

The one command that the pods of a map start. Which index is theirs, the cluster tells them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback

from zenml.core import answer_unit, open_store
from zenml.core.errors import StoreError, StoreUnavailableError
from zenml.k8s._orders import AGAIN, RAISED, REFUSED, Order

__all__: list[str] = []


def main() -> int:
    """Execute the units of this pod's index; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m zenml.k8s.worker")
    parser.add_argument("--store", required=True)
    parser.add_argument("--order", required=True, metavar="KEY")
    parser.add_argument("--digest", required=True)
    given = parser.parse_args()
    try:
        scope = given.order.partition("/orders/")[0]
        order = Order(open_store(given.store), scope, given.digest)
        return _execute(order, int(os.environ["JOB_COMPLETION_INDEX"]))
    except StoreUnavailableError as error:
        # A folder that a pod does not see, none like it will.
        lasting = given.store.startswith("file:")
        return _end(REFUSED if lasting else AGAIN, f"the pod does not reach the store: {error}")
    except Exception as error:  # noqa: BLE001 - before it is a unit's, it is everybody's
        traceback.print_exception(error)
        return _end(REFUSED, f"the pod cannot begin its work: {error}")


def _execute(order: Order, index: int) -> int:
    context, units = order.read(index)
    results = []
    for number, unit in enumerate(units, 1):
        answer = answer_unit(unit, context)
        error = answer.exception()
        if error is not None:
            print(f"unit {number} of {len(units)}, {unit.function}: {error}", file=sys.stderr)
            with contextlib.suppress(StoreError):
                order.put_error(index, answer)
            return AGAIN if isinstance(error, StoreUnavailableError) else RAISED
        results.append(answer.value)
    order.put_results(index, results)
    return 0


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
