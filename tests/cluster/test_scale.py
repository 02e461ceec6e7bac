"""Many steps at once, and what they ask of the API server and of the client."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Cluster

from zenml.core.testing import Project

HERE = Path(__file__).parent
STEPS = 200
#: With ``--full-scale``, and without.
UNITS, FEWER_UNITS = 5_000, 500


@pytest.fixture
def scale(cluster: Cluster, namespace: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs very many things on simulated nodes; what came of it, and what it took."""
    # Long enough for a thread to do the work of all that run at once.
    label = cluster.start_kwok(20, seconds=5)
    (tmp_path / "store").mkdir()
    project = Project(tmp_path / "project")
    shutil.copy(HERE / "project" / "scale.py", project.folder)
    options = {
        "image": "localhost/simulated:1",
        "namespace": namespace,
        "kubernetes_config_path": str(cluster.kubeconfig),
        "node_selector": {label: "true"},
        "tolerations": [{"key": label, "operator": "Exists"}],
    }

    def run(more: dict[str, Any] | None = None, **many: int) -> dict[str, Any]:
        told = {
            **many,
            "store": (tmp_path / "store").as_uri(),
            "options": {**options, **(more or {})},
        }
        done = project.run("scale.py", json.dumps(told), timeout=1500)
        assert done.returncode == 0, done.stderr[-4000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        print(many, found)
        assert found["status"] == "succeeded"
        return found

    return run


def test_two_hundred_steps_at_once_ask_for_little(scale: Callable[..., dict[str, Any]]) -> None:
    found = scale(steps=STEPS)
    assert found["steps"] == STEPS
    calls = found["calls"]
    # A Job is made, and deleted; all else is shared, whatever the number of steps.
    assert calls.pop("POST jobs") == STEPS
    assert calls.pop("DELETE jobs/NAME") == STEPS
    assert sum(calls.values()) < STEPS, calls
    assert found["grown"] < 100 << 20


def test_very_many_units_ask_for_as_little_as_a_few(
    scale: Callable[..., dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("full_scale", False)
    units = UNITS if full else FEWER_UNITS
    found = scale({"parallelism": 50, "units_per_pod": 1}, units=units)
    assert found["total"] == units * (units - 1)
    assert sum(found["calls"].values()) < 40, found["calls"]
    assert found["grown"] < 100 << 20
