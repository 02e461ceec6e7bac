"""A Kubernetes cluster for tests: see ``tests/cluster/README.md``."""

from harness._machine import share
from harness.cluster import (
    LIMITED,
    RUN_LABEL,
    Cluster,
    LocalCluster,
    Unsupported,
    missing,
    wait_until,
)

__all__ = [
    "LIMITED",
    "RUN_LABEL",
    "Cluster",
    "LocalCluster",
    "Unsupported",
    "missing",
    "share",
    "wait_until",
]
