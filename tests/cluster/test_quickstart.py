"""The quickstart's flights on a cluster: the same bytes as on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Cluster

from zenml.core.testing import Project
from zenml.k8s import OrchestratorKubernetesBackend

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"

SCRIPT = """
import json, shutil, sys
from pathlib import Path
import run as quickstart
from zenml.k8s import OrchestratorKubernetesBackend, ProcessingKubernetesBackend
from zenml.local import OrchestratorLocalBackend

told = json.loads(sys.argv[1])
data = Path(told["data"])
if not data.exists():
    shutil.copy(quickstart.flights_csv(), data)
quickstart.flights_csv = lambda: data
where = told["options"]
backend, backends = OrchestratorLocalBackend(), {}
if told["name"] == "units":
    backends = {"processing": ProcessingKubernetesBackend(**where)}
elif where:
    backend = OrchestratorKubernetesBackend(**where)
run = quickstart.build(seed=0).run(backend, backends=backends, artifact_store=told["store"])
print(json.dumps({name: record.outputs for name, record in run.steps.items()}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project", {"main.py": SCRIPT})
    shutil.copy(QUICKSTART / "run.py", made.folder)
    yield made
    made.end_processes()


@pytest.fixture
def digests(project: Project, folder: Path) -> Callable[..., dict[str, Any]]:
    """Runs the quickstart in a store of its own; step and output to artifact digest."""

    def run(name: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
        data = str(folder / "flights.csv.zip")
        told = {"name": name, "store": (folder / name).as_uri(), "data": data, "options": options}
        done = project.run("main.py", json.dumps(told), timeout=600)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return run


def account(cluster: Cluster, namespace: str) -> str:
    """A service account with what a driver needs."""
    name = "driver"
    cluster.kubectl("create", "serviceaccount", name, "--namespace", namespace)
    backend = OrchestratorKubernetesBackend(namespace=namespace, service_account=name)
    cluster.apply(*yaml.safe_load_all(backend.permissions()))
    return name


def test_the_quickstart_gives_the_same_bytes_on_a_cluster(
    cluster: Cluster,
    namespace: str,
    parameters: dict[str, Any],
    digests: Callable[..., dict[str, Any]],
) -> None:
    here = digests("here")
    assert digests("pipeline", parameters) == here
    assert digests("units", {**parameters, "parallelism": 2}) == here
    driver = {"isolation": "step", "service_account": account(cluster, namespace)}
    assert digests("step", {**parameters, **driver}) == here
