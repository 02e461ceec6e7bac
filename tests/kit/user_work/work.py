"""A user's script: a pipeline of two steps somewhere else, and what came of it as JSON."""

from __future__ import annotations

import json
import os
import pkgutil
import sys
import time
from typing import Any

from zenml.core import open_store
from zenml.core.errors import RunError, ZenMLError
from zenml.pipelines import Pipeline, step


@step
def numbers(count: int) -> list[int]:
    """A result to go on from."""
    return list(range(count))


@step
def work(values: list[int], how: str, store: str, marks: str) -> int:
    """Leave a mark, then do what is asked for."""
    place = open_store(store)
    print(f"at work: {how}", *sorted(os.environ), flush=True)
    place.write(f"marks/{marks}/{time.time_ns()}", b"")
    if how == "wait":
        deadline = time.monotonic() + 300
        while not place.exists(f"go/{marks}") and time.monotonic() < deadline:
            time.sleep(0.1)
    if how == "memory":
        held = []
        while True:
            held.append(os.urandom(20 << 20))
    if how == "mistake":
        raise ValueError("no good")
    return sum(values)


def main() -> None:
    """Run it."""
    told = json.loads(sys.argv[1])
    pipeline = Pipeline(name="work somewhere else")
    pipeline.add_step(numbers(count=5), name="numbers")
    made = work(how=told["how"], store=told["store"], marks=told["marks"])
    pipeline.add_step(made, name="work", inputs={"values": "numbers.output"})
    begun = time.monotonic()
    said: dict[str, Any]
    try:
        backend = pkgutil.resolve_name(told["backend"])(**told["options"])
        run = pipeline.run(backend, artifact_store=told["store"], detach=told["detach"])
        said = {"status": run.status, "run": run.id}
        if run.status == "succeeded":
            said["value"] = run.load("work")
    except ZenMLError as error:
        failure = getattr(error, "failure", None)
        said = {
            "status": "failed",
            "kind": type(error).__name__,
            "cause": failure.cause if isinstance(error, RunError) and failure else None,
            "message": str(error),
            "traceback": getattr(error, "traceback_text", None),
        }
    print(json.dumps({**said, "seconds": time.monotonic() - begun}), flush=True)


if __name__ == "__main__":
    main()
