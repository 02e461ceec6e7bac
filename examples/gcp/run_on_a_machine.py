"""The quickstart's flights on a large virtual machine, which deletes itself afterwards.

python run_on_a_machine.py --image europe-docker.pkg.dev/my-project/ml/zenml:1
"""

from __future__ import annotations

import argparse
import os

from train_on_vertex import build, quickstart, told, trainer

from zenml.core import open_store
from zenml.gcp import OrchestratorGCPBackend

FLIGHTS = "flights.csv.zip"


def main() -> None:
    """Run the pipeline and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image", required=True, help="what 'zenml image build' has made")
    parser.add_argument("--machine-type", default="e2-highmem-16")
    parser.add_argument("--zone", default="europe-west1-b")
    given = parser.parse_args()

    project, bucket = told("GCP_PROJECT"), told("GCP_BUCKET")
    # The machine has no disk of ours: what it reads is in the bucket.
    data = open_store(f"{bucket}/data")
    if not data.exists(FLIGHTS):
        data.upload(FLIGHTS, quickstart.flights_csv())
    # Where the stand-ins are; without them, Google's own.
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    backend = OrchestratorGCPBackend(
        project=project,
        zone=given.zone,
        machine_type=given.machine_type,
        image=given.image,
        environment={"STORAGE_EMULATOR_HOST": emulator} if emulator else {},
        api_endpoint=os.environ.get("COMPUTE_ENDPOINT"),
    )
    pipeline = build(trainer("sklearn"), flights=f"{bucket}/data/{FLIGHTS}")
    run = pipeline.run(backend=backend, artifact_store=f"{bucket}/zenml")
    quickstart.show(run.load("evaluator.evaluation"))
    print(f"run {run.id}: {', '.join(f'{n} {s.status}' for n, s in run.steps.items())}")


if __name__ == "__main__":
    main()
