"""The suites of zenml-core on a real cluster, for restricted pods, as a user with few rights."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from harness import LIMITED, Cluster

from zenml.core import JobBackend
from zenml.core.testing import OrchestratorConformance, TrainingConformance
from zenml.k8s import OrchestratorKubernetesBackend, TrainingKubernetesBackend

#: More memory than any node has.
TOO_MUCH = "900Ti"

#: Who starts the Jobs: somebody without any right of their own.
USER = LIMITED[0]


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
        # Some cases leave Jobs on purpose, so what is left says nothing here.
        cluster.remove_namespace(name)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(
        cls,
        cluster: Cluster,
        space: str,
        image: str,
        folder: Path,
        limited: Callable[[JobBackend, str], JobBackend],
    ) -> JobBackend:
        made = cls.make(
            image=image,
            namespace=space,
            volumes=[{"mount_path": str(folder), "claim": cluster.shared_volume(space, folder)}],
            **cls.options,
        )
        return limited(made, USER)

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

    @pytest.fixture(scope="class")
    @classmethod
    def backend_with_steps(cls, cluster: Cluster, space: str, backend: JobBackend) -> JobBackend:
        made = backend.replace(isolation="step", service_account="driver")
        cluster.kubectl("create", "serviceaccount", "driver", "--namespace", space)
        cluster.apply(*yaml.safe_load_all(made.permissions()))
        return made


class TestTraining(OnCluster, TrainingConformance):
    make = TrainingKubernetesBackend
