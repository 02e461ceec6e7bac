"""The suites of zenml-core on a real cluster, in a namespace for restricted pods."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness import Cluster

from zenml.core import JobBackend
from zenml.core.testing import OrchestratorConformance, TrainingConformance
from zenml.k8s import OrchestratorKubernetesBackend, TrainingKubernetesBackend

#: More memory than any node has.
TOO_MUCH = "900Ti"


class OnCluster:
    """What the suites below have in common."""

    make: ClassVar[type[JobBackend]]
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("store")

    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, folder: Path) -> str:
        return folder.as_uri()

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls, cluster: Cluster) -> Iterator[str]:
        """A namespace for all cases: to make one takes longer than most of them."""
        name = f"zenml-test-{secrets.token_hex(4)}"
        cluster.add_namespace(name)
        yield name
        left = cluster.get("jobs,pods", "--selector", "zenml.io/run", namespace=name)
        cluster.remove_namespace(name)
        names = [f"{one['kind']} {one['metadata']['name']}" for one in left]
        ending = [one for one in left if "deletionTimestamp" in one["metadata"]]
        assert len(ending) == len(left), f"left in the namespace: {names}"

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, cluster: Cluster, space: str, image: str, folder: Path) -> JobBackend:
        claim = cluster.shared_volume(space, folder)
        return cls.make(
            image=image,
            namespace=space,
            kubernetes_config_path=str(cluster.kubeconfig),
            context=cluster.context,
            volumes=[{"mount_path": str(folder), "claim": claim}],
            **cls.options,
        )

    @pytest.fixture(scope="class")
    @classmethod
    def backend_without_image(cls, backend: JobBackend) -> JobBackend:
        return backend.replace(image="localhost/no-such-image:1", image_pull_policy="Never")

    @pytest.fixture(scope="class")
    @classmethod
    def backend_without_room(cls, backend: JobBackend) -> JobBackend:
        return backend.replace(memory=TOO_MUCH, pending_timeout=3.0)

    @pytest.fixture(scope="class")
    @classmethod
    def backend_that_waits(cls, backend: JobBackend) -> JobBackend:
        return backend.replace(node_selector={"zenml.io/there-is-none": "true"})

    @pytest.fixture(scope="class")
    @classmethod
    def backend_with_little_memory(cls, backend: JobBackend) -> JobBackend:
        return backend.replace(memory="500Mi")


class TestOrchestrator(OnCluster, OrchestratorConformance):
    make = OrchestratorKubernetesBackend


class TestTraining(OnCluster, TrainingConformance):
    make = TrainingKubernetesBackend
