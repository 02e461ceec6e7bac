"""The pipeline that the faults are injected into: a few milliseconds of everything that can be cut.

Steps and units write what they do into a journal outside the store, so that a test knows what was
done twice. ``python faulty.py`` runs it; see ``main`` for the arguments.
"""

import argparse
import hashlib
import os
import sys

from zenml.core import Artifact, Blob
from zenml.local import OrchestratorLocalBackend, ProcessingLocalBackend
from zenml.pipelines import Pipeline, StepContext, step

JOURNAL = "JOURNAL"


def note(what):
    """Add a line to the journal, whole or not at all."""
    path = os.environ.get(JOURNAL)
    if path:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, f"{what}\n".encode())
        os.close(handle)


def block(seed, size):
    """Bytes that depend on the seed alone."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def cut(payload, files):
    note(f"unit {payload['part']}")
    path = files.scratch / "part"
    path.write_bytes(block(payload, payload["size"]))
    blob = files.put(path)
    return {"part": payload["part"], "digest": blob.digest, "size": blob.size}


@step
def source(size: int) -> bytes:
    note("step source")
    return block("source", size)


@step(outputs=["head", "tail"])
def halve(content: bytes) -> tuple:
    note("step halve")
    return content[: len(content) // 2], content[len(content) // 2 :]


@step
def shard(context: StepContext, content: bytes, parts: int, salt: int) -> Artifact:
    note(f"step shard{salt}")
    payloads = [
        {"part": f"{salt}.{n}", "size": 4096 + n, "of": hashlib.sha256(content).hexdigest()}
        for n in range(parts)
    ]
    results = context.map(cut, payloads)
    files = {result["part"]: Blob(result["digest"], result["size"]) for result in results}
    return Artifact(format="folder/1", value={"single": False}, files=files)


@step
def measure(content: bytes, number: int) -> dict:
    note(f"step measure{number}")
    return {"number": number, "digest": hashlib.sha256(content).hexdigest(), "x": [0.1] * 50}


@step
def collect(parts: list, measures: list) -> dict:
    note("step collect")
    files = [file for part in parts for file in sorted(part.iterdir())]
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return {"files": digests, "measures": measures}


def pipeline(mode="threads", workers=2, steps=2, name="faulty"):
    made = Pipeline(
        name,
        backends=[
            OrchestratorLocalBackend(max_parallel_steps=steps),
            ProcessingLocalBackend(mode=mode, workers=workers),
        ],
    )
    first = made.add_step(source(size=100_000))
    half = made.add_step(halve(), inputs={"content": first})
    shards = [
        made.add_step(shard(parts=5, salt=0), name="shard0", inputs={"content": half["head"]}),
        made.add_step(shard(parts=5, salt=1), name="shard1", inputs={"content": half["tail"]}),
    ]
    measures = [
        made.add_step(measure(number=n), name=f"measure{n}", inputs={"content": half["head"]})
        for n in range(4)
    ]
    made.add_step(collect(), inputs={"parts": shards, "measures": measures})
    return made


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", default="threads")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--store")
    parser.add_argument("--wait-for", help="Begin when this file exists.")
    given = parser.parse_args(arguments)
    made = pipeline(given.mode, given.workers, given.steps)
    if given.wait_for:
        print("ready", flush=True)
        while not os.path.exists(given.wait_for):
            pass
    run = made.run(artifact_store=given.store)
    print(run.id)
    for name, record in sorted(run.steps.items()):
        print(name, record.status, " ".join(record.outputs.values()))


if __name__ == "__main__":
    main(sys.argv[1:])
