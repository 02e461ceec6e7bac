"""A trainer that goes in parts, and waits in the middle until it is told to go on.

    python training.py TOLD

TOLD is JSON: the backend's parameters, the artifact store, where marks go. Prints the run's id, and
what the trainer made.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid

from zenml.core import StepContext, open_store
from zenml.pipelines import Pipeline, step


@step
def number(value: int) -> int:
    return value


@step(kind="training")
def train(context: StepContext, data: int, parts: int, store: str, marks: str) -> list[int]:
    seen = open_store(store)
    done = context.last_checkpoint() or []
    print("training begins with", done, flush=True)
    print("given:", *sorted(os.environ.values()), flush=True)
    while len(done) < parts:
        if len(done) == 2:
            seen.write(f"{marks}-half/done", b"")
            # Whoever watches takes the machine away, cancels, or says that it goes on.
            while not seen.exists(f"{marks}-go/on"):
                time.sleep(0.05)
        seen.write(f"{marks}/{uuid.uuid4().hex}", b"")
        done = [*done, data + len(done)]
        context.save_checkpoint(done)
    return done


if __name__ == "__main__":
    from zenml.gcaip import SingleGPUTrainingGCAIPBackend

    told = json.loads(sys.argv[1])
    pipeline = Pipeline("parts")
    pipeline.add_step(number(value=10), name="number")
    given = {"store": told["store"], "marks": told["marks"]}
    trainer = train(parts=4, **given).with_backend(SingleGPUTrainingGCAIPBackend(**told["backend"]))
    pipeline.add_step(trainer, name="train", inputs={"data": "number"})
    run = pipeline.run(artifact_store=told["store"], progress=False)
    print(json.dumps({"run": run.id, "status": run.status, "made": run.load("train")}))
