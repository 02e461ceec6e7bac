"""The example's flights with a network in TensorFlow: here, or on Vertex AI.

    python flights.py STORE [BACKEND]

BACKEND is JSON, the parameters of a backend. Prints the evaluation.
"""

from __future__ import annotations

import json
import sys

import train_on_vertex

from zenml.gcaip import SingleGPUTrainingGCAIPBackend


def main(store: str, backend: str | None = None) -> None:
    """Train and evaluate."""
    trainer = train_on_vertex.trainer("tensorflow")
    if backend is not None:
        trainer = trainer.with_backend(SingleGPUTrainingGCAIPBackend(**json.loads(backend)))
    made = train_on_vertex.build(trainer).run(artifact_store=store, progress=False)
    model = made.steps["trainer"].outputs["model"]
    print(json.dumps({"model": model, "evaluation": made.load("evaluator.evaluation")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
