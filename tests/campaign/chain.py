"""The pipeline that the campaign hurts: bytes, units of work, a value, and a trainer's job."""

import hashlib

from campaign_kit.journal import note

from zenml.core import Artifact, Blob
from zenml.local import OrchestratorSubprocessBackend, TrainingSubprocessBackend
from zenml.pipelines import Pipeline, StepContext, step


def block(seed, size):
    """Bytes that depend on the seed alone."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def cut(payload, files):
    note(f"cuts {payload['part']}")
    path = files.scratch / "part"
    path.write_bytes(block(payload, 3000))
    blob = files.put(path)
    return {"part": payload["part"], "digest": blob.digest, "size": blob.size}


@step
def source(size: int) -> bytes:
    note("makes the source")
    print("the source", flush=True)
    return block("source", size)


@step
def shard(context: StepContext, content: bytes, parts: int) -> Artifact:
    note("shards")
    digest = hashlib.sha256(content).hexdigest()
    results = context.map(cut, [{"part": str(n), "of": digest} for n in range(parts)])
    files = {result["part"]: Blob(result["digest"], result["size"]) for result in results}
    return Artifact(format="folder/1", value={"single": False}, files=files)


@step
def measure(content: bytes) -> dict:
    note("measures")
    return {"digest": hashlib.sha256(content).hexdigest(), "x": [0.1] * 20}


@step(kind="training")
def train(parts: object, measured: dict) -> bytes:
    note("begins to train")
    print("training", flush=True)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(parts.iterdir())]
    note("has trained")
    return block((digests, measured), 5000)


def pipeline(store, jobs, retries, max_jobs=None, *, here=False):
    """The pipeline: all but the training in one job; or everything in this process."""
    given = {
        "work_folder": jobs,
        "retries": retries,
        "retry_delay": 0.1,
        "max_jobs": max_jobs,
    }
    jobs_of = [OrchestratorSubprocessBackend(**given), TrainingSubprocessBackend(**given)]
    made = Pipeline("chain", backends=[] if here else jobs_of, artifact_store=store)
    content = made.add_step(source(size=20_000))
    parts = made.add_step(shard(parts=3), inputs={"content": content})
    measured = made.add_step(measure(), inputs={"content": content})
    made.add_step(train(), inputs={"parts": parts, "measured": measured})
    return made
