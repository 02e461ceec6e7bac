"""The example, as its README says, but for the cluster that it is on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness import Cluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes"


def test_the_example_runs(cluster: Cluster, namespace: str, image: str, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    where = ["--shared", str(shared), "--claim", cluster.shared_volume(namespace, shared)]
    done = subprocess.run(
        [sys.executable, "on_kubernetes.py", *where, "--namespace", namespace, "--image", image],
        cwd=EXAMPLE,
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "Arrives more than 15 minutes late?" in done.stdout
    assert "trainer succeeded" in done.stdout
