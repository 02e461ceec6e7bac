"""The quickstart on a Kubernetes cluster: what is done stays as it is, and a backend says where.

python on_kubernetes.py                       one Job runs the pipeline
python on_kubernetes.py --isolation step      a Job for each step
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from zenml.k8s import OrchestratorKubernetesBackend

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "quickstart"))

import run as quickstart

#: As in kind.yaml and shared.yaml.
SHARED = "/tmp/zenml-shared"  # noqa: S108


def main() -> None:
    """Run the pipeline on the cluster and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shared", default=SHARED, help="folder that pods see, too")
    parser.add_argument("--claim", default="zenml-shared", help="the volume claim that it is")
    parser.add_argument("--namespace", default="zenml")
    parser.add_argument("--context", help="of the kubeconfig; by default its current one")
    parser.add_argument("--image", help="by default what 'zenml image build' makes")
    parser.add_argument("--isolation", choices=["pipeline", "step"], default="pipeline")
    given = parser.parse_args()

    backend = OrchestratorKubernetesBackend(
        image=given.image,
        namespace=given.namespace,
        context=given.context,
        isolation=given.isolation,
        service_account="zenml" if given.isolation == "step" else None,
        cpu="250m",
        memory="1Gi",
        # Pods and this process write the same files.
        run_as_user=os.getuid() or 1000,
        volumes=[{"mount_path": given.shared, "claim": given.claim}],
    )
    # The data have to be where pods find them, under the same name.
    data = Path(given.shared, "flights.csv.zip")
    if not data.exists():
        shutil.copyfile(quickstart.flights_csv(), data)
    quickstart.flights_csv = lambda: data

    pipeline = quickstart.build(seed=0)
    run = pipeline.run(backend, artifact_store=Path(given.shared, "store").as_uri())
    quickstart.show(run.load("evaluator.evaluation"))
    print(f"run {run.id}: {', '.join(f'{n} {s.status}' for n, s in run.steps.items())}")


if __name__ == "__main__":
    main()
