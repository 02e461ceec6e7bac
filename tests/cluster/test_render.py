"""A plan's Job that kubectl starts, and that zenml sees through."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from harness import Cluster

from zenml.core.testing import Project

SCRIPT = """
import json, sys
from zenml.k8s import OrchestratorKubernetesBackend
from zenml.pipelines import Pipeline, step

@step
def numbers(count: int) -> list[int]:
    return list(range(count))

if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    pipeline = Pipeline("rendered")
    pipeline.add_step(numbers(count=3))
    pipeline.run(OrchestratorKubernetesBackend(**told["options"]), artifact_store=told["store"])
"""


def test_what_is_rendered_and_applied_is_the_run(
    cluster: Cluster, namespace: str, parameters: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", {"train.py": SCRIPT})
    told = json.dumps({"store": folder.as_uri(), "options": parameters})

    rendered = project.zenml("plan", "--render", "train.py", told)
    assert rendered.returncode == 0, rendered.stderr
    applied = subprocess.run(
        [str(cluster.program), "--kubeconfig", str(cluster.kubeconfig), "apply", "-f", "-"],
        input=rendered.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.endswith(" created\n")
    [job] = cluster.get("jobs", namespace=namespace)
    waited = project.zenml("run", "wait", "last", "--store", folder.as_uri())

    assert waited.returncode == 0, waited.stderr
    assert waited.stdout.endswith(" succeeded\n")
    [attempt] = folder.glob("runs/*/jobs/plan/*/outcome.json")
    handle = json.loads(attempt.with_name("handle.json").read_text())
    assert job["metadata"]["uid"] in json.dumps(handle), handle
    print(applied.stdout, waited.stderr, waited.stdout, handle)
