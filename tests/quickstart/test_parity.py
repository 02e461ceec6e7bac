"""Same plan, same bytes: the flights, whoever does the work and with however many threads."""

from __future__ import annotations

import json

import pytest

SCRIPT = """
import json, sys
from run import build
from zenml.local import OrchestratorLocalBackend, ProcessingLocalBackend

mode, workers, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
run = build(seed=0).run(
    OrchestratorLocalBackend(max_parallel_steps=steps),
    backends={"processing": ProcessingLocalBackend(mode=mode, workers=workers)},
    artifact_store=sys.argv[4],
)
assert all(step.status == "succeeded" for step in run.steps.values()), run.steps
print(json.dumps({name: step.outputs for name, step in run.steps.items()}, sort_keys=True))
"""

VARIANTS = [
    # mode, workers, parallel steps, Polars threads
    ("threads", 1, 1, 1),
    ("threads", 8, 4, 8),
    ("processes", 1, 1, 8),
    ("processes", 8, 4, 1),
]


@pytest.fixture(scope="module")
def reference(python, tmp_path_factory):
    return digests(python, tmp_path_factory.mktemp("reference"), ("threads", 2, 2, 2))


def digests(python, store, variant) -> dict[str, dict[str, str]]:
    mode, workers, steps, polars_threads = variant
    # A store of its own: nothing can come from the cache.
    arguments = [mode, str(workers), str(steps), str(store / "store")]
    done = python("-c", SCRIPT, *arguments, POLARS_MAX_THREADS=str(polars_threads))
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v)))
def test_every_artifact_has_the_same_digest(python, tmp_path, reference, variant):
    assert digests(python, tmp_path, variant) == reference
