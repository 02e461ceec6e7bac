"""Many steps at once, and what they ask of the API server and of the client."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from harness import Cluster

from zenml.core.testing import Project

HERE = Path(__file__).parent
STEPS = 200


def test_two_hundred_steps_at_once_ask_for_little(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    label = cluster.start_kwok(20, seconds=3)
    (tmp_path / "store").mkdir()
    project = Project(tmp_path / "project")
    shutil.copy(HERE / "project" / "scale.py", project.folder)
    told = {
        "steps": STEPS,
        "store": (tmp_path / "store").as_uri(),
        "options": {
            "image": "localhost/simulated:1",
            "namespace": namespace,
            "kubernetes_config_path": str(cluster.kubeconfig),
            "node_selector": {label: "true"},
            "tolerations": [{"key": label, "operator": "Exists"}],
        },
    }
    done = project.run("scale.py", json.dumps(told), timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert (found["status"], found["steps"]) == ("succeeded", STEPS)
    calls = found["calls"]
    # A Job is made, and deleted; all else is shared, whatever the number of steps.
    assert calls.pop("POST jobs") == STEPS
    assert calls.pop("DELETE jobs/NAME") == STEPS
    assert sum(calls.values()) < STEPS, calls
    assert found["grown"] < 100 << 20
