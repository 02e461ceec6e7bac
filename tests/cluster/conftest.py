"""A cluster for the tests, a namespace for each, and the image that pods run."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from harness import RUN_LABEL, Cluster, LocalCluster, Unsupported, binaries, images, missing


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cluster", "a Kubernetes cluster (tests/cluster)")
    group.addoption("--kubeconfig", metavar="FILE", help="use the cluster that this file leads to")
    group.addoption("--context", metavar="NAME", help="of that file; by default its current one")
    group.addoption("--image", metavar="NAME", help="what pods of that cluster run")
    group.addoption("--full-scale", action="store_true", help="as many of everything as promised")
    group.addoption("--cluster-logs", metavar="FOLDER", help="keep the logs of the components")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    yield from _skipping()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield from _skipping()


def _skipping() -> Generator[None, None, None]:
    try:
        return (yield)
    except Unsupported as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster that the options lead to; without any, one that is started now."""
    # Where all tests are run, the options of this folder are not known.
    given = request.config.getoption("kubeconfig", None)
    if given is not None:
        yield Cluster(Path(given), request.config.getoption("context"))
        return
    why = missing()
    if why is not None:
        pytest.skip(why)
    try:
        # From Go's and Debian's mirrors, unless they are in the cache.
        binaries.kubernetes(), binaries.etcd(), binaries.kwok(), images.pause(), images.base()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        pytest.skip(f"what a cluster is made of cannot be had here: {str(error)[-500:]}")
    logs = request.config.getoption("cluster_logs", None)
    with LocalCluster(keep_logs=None if logs is None else Path(logs)) as local:
        yield local


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own, for restricted pods; nothing of ours may be left in it."""
    name = f"zenml-test-{secrets.token_hex(4)}"
    cluster.add_namespace(name)
    try:
        yield name
        left = _left(cluster, name)
        deadline = time.monotonic() + 30
        while left and time.monotonic() < deadline:  # pods go by and by when their Job has gone
            time.sleep(0.5)
            left = _left(cluster, name)
    finally:
        cluster.remove_namespace(name)
    assert left == [], "the test leaves in its namespace what a backend should have removed"


def _left(cluster: Cluster, namespace: str) -> list[str]:
    """What is ours and stays. What is on its way out is no longer there for a user, either."""
    return [
        f"{one['kind']} {one['metadata']['name']}"
        for one in cluster.get("jobs,pods", "--selector", RUN_LABEL, namespace=namespace)
        if "deletionTimestamp" not in one["metadata"]
    ]


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """The name of the image that pods run zenml in."""
    if not isinstance(cluster, LocalCluster):
        given: str | None = request.config.getoption("image", None)
        if given is None:
            pytest.skip("--image has to name what the pods of an existing cluster run")
        return given
    return cluster.load(images.runtime(["zenml-steps[pandas,sklearn]"]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test has its store, and whatever else its pods are to see."""
    made = tmp_path / "shared"
    made.mkdir()
    return made


@pytest.fixture
def parameters(cluster: Cluster, namespace: str, image: str, folder: Path) -> dict[str, Any]:
    """A backend's parameters for the test's namespace; its pods see ``folder``."""
    return {
        "image": image,
        "namespace": namespace,
        "kubernetes_config_path": str(cluster.kubeconfig),
        "context": cluster.context,
        "volumes": [{"mount_path": str(folder), "claim": cluster.shared_volume(namespace, folder)}],
    }


@pytest.fixture(scope="session")
def limited(cluster: Cluster) -> Callable[[Any, str], Any]:
    """Makes a backend anew for a user who has no rights but those that the backend prints."""

    def limit(backend: Any, user: str) -> Any:
        role = backend.permissions().replace("REPLACE-ME", user)
        cluster.apply(*yaml.safe_load_all(role))
        return backend.replace(kubernetes_config_path=str(cluster.kubeconfig_for(user)))

    return limit
