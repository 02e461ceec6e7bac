"""The quickstart's flights, with the trainer on Vertex AI: all else stays on this machine.

python train_on_vertex.py                        a network in TensorFlow, on one GPU
python train_on_vertex.py --trainer sklearn      what the quickstart trains, which needs none
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from zenml.core import Step
from zenml.datasources import CSVDatasource
from zenml.gcaip import SingleGPUTrainingGCAIPBackend
from zenml.pipelines import TrainingPipeline
from zenml.steps.evaluator import Evaluator
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer, TFFeedForwardTrainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "quickstart"))

import run as quickstart


def told(variable: str) -> str:
    """What one of the three variables says; see the README."""
    if variable not in os.environ:
        sys.exit(
            f"error: {variable} is not set; for a project of yours: export GCP_PROJECT=my-project "
            "GCP_BUCKET=gs://my-bucket GCP_REGION=europe-west1; without one: nox -s services -- "
            f"python {sys.argv[0]}"
        )
    return os.environ[variable]


def trainer(kind: str) -> Step:
    """The trainer of that kind."""
    if kind == "sklearn":
        return SKLearnTrainer()
    return TFFeedForwardTrainer(loss="binary_crossentropy", batch_size=1024)


def build(trainer: Step, flights: str | None = None) -> TrainingPipeline:
    """What is done. Where the training is done, the trainer says, if it has a backend."""
    pipeline = TrainingPipeline(name="flights on Google Cloud")
    path = flights or str(quickstart.flights_csv())
    pipeline.add_datasource(CSVDatasource(name="flights", path=path))
    pipeline.add_step(quickstart.LateArrival(minutes=15), name="late")
    pipeline.add_split(RandomSplit(split_map={"train": 0.7, "eval": 0.3}))
    pipeline.add_preprocesser(
        StandardPreprocesser(
            features=["month", "hour", "carrier", "origin", "distance", "dep_delay"],
            labels=["late"],
        )
    )
    pipeline.add_trainer(trainer)
    pipeline.add_evaluator(Evaluator(slices=["carrier"]))
    return pipeline


def main() -> None:
    """Run the pipeline and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trainer", choices=["tensorflow", "sklearn"], default="tensorflow")
    parser.add_argument("--gpu-type", default="T4")
    parser.add_argument("--machine-type", default="n1-standard-4")
    parser.add_argument("--spot", action="store_true", help="cheaper, and taken away at any time")
    given = parser.parse_args()

    project, bucket, region = (told(f"GCP_{name}") for name in ("PROJECT", "BUCKET", "REGION"))
    # Where Vertex AI is, for the stand-ins; without it, the region's own.
    endpoint = os.environ.get("VERTEX_ENDPOINT")
    training_backend = SingleGPUTrainingGCAIPBackend(
        project=project,
        job_dir=f"{bucket}/gcp_gcaip_training/staging",
        region=region,
        gpu_type=given.gpu_type,
        machine_type=given.machine_type,
        strategy="SPOT" if given.spot else "STANDARD",
        api_endpoint=endpoint,
        logging_endpoint=endpoint,
    )
    pipeline = build(trainer(given.trainer).with_backend(training_backend))
    run = pipeline.run(artifact_store=f"{bucket}/zenml")
    quickstart.show(run.load("evaluator.evaluation"))
    print(f"run {run.id}: {', '.join(f'{n} {s.status}' for n, s in run.steps.items())}")


if __name__ == "__main__":
    main()
