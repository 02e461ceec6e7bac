"""The quickstart's flights, split and preprocessed on Dataflow: all else stays on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from zenml.dataflow import ProcessingDataFlowBackend
from zenml.datasources import CSVDatasource
from zenml.pipelines import TrainingPipeline
from zenml.steps.evaluator import Evaluator
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer

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


def main() -> None:
    """Run the pipeline and print what came of it."""
    project, bucket, region = (told(f"GCP_{name}") for name in ("PROJECT", "BUCKET", "REGION"))
    # Define the processing backend
    processing_backend = ProcessingDataFlowBackend(
        project=project,
        staging_location=f"{bucket}/dataflow_processing/staging",
        region=region,
        # Where the stand-in is; without it, Google's own.
        api_endpoint=os.environ.get("DATAFLOW_ENDPOINT"),
    )
    pipeline = TrainingPipeline(name="flights on Dataflow")
    pipeline.add_datasource(CSVDatasource(name="flights", path=str(quickstart.flights_csv())))
    pipeline.add_step(quickstart.LateArrival(minutes=15), name="late")
    # Reference the processing backend in steps
    pipeline.add_split(
        RandomSplit(split_map={"train": 0.7, "eval": 0.3}).with_backend(processing_backend)
    )
    pipeline.add_preprocesser(
        StandardPreprocesser(
            features=["month", "hour", "carrier", "origin", "distance", "dep_delay"],
            labels=["late"],
        ).with_backend(processing_backend)
    )
    pipeline.add_trainer(SKLearnTrainer())
    pipeline.add_evaluator(Evaluator(slices=["carrier"]))
    run = pipeline.run(artifact_store=f"{bucket}/zenml")
    quickstart.show(run.load("evaluator.evaluation"))
    print(f"run {run.id}: {', '.join(f'{n} {s.status}' for n, s in run.steps.items())}")


if __name__ == "__main__":
    main()
