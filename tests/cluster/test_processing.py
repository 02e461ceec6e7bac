"""Maps on a real cluster: the suite of zenml-core, and what becomes of pods that fail."""

from __future__ import annotations

import os
import secrets
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import LIMITED, Cluster, wait_until

from zenml.core import Unit
from zenml.core.errors import RunError
from zenml.core.testing import ProcessingConformance
from zenml.core.testing._map_bench import MapBench
from zenml.core.testing._user_project import UserProject, new_marks
from zenml.k8s import ProcessingKubernetesBackend
from zenml.k8s._api import Api

#: What all that a map makes is found by.
OURS = ("--selector", "zenml.io/map")

HOARDER = """
def hoard(payload, files):
    return len([b"x" * (64 << 20) for _ in range(32)])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[str]:
    """A namespace for all cases: to make one takes longer than most of them."""
    name = f"zenml-test-{secrets.token_hex(4)}"
    cluster.add_namespace(name)
    yield name
    try:
        wait_until(lambda: not left(cluster, name), what="the end of what maps had started")
    finally:
        cluster.remove_namespace(name)


@pytest.fixture(scope="module")
def mapping(
    cluster: Cluster,
    space: str,
    image: str,
    folder: Path,
    limited: Callable[[ProcessingKubernetesBackend, str], ProcessingKubernetesBackend],
) -> ProcessingKubernetesBackend:
    made = ProcessingKubernetesBackend(
        image=image,
        namespace=space,
        volumes=[{"mount_path": str(folder), "claim": cluster.shared_volume(space, folder)}],
        parallelism=2,
        backoff_limit_per_index=1,
    )
    return limited(made, LIMITED[1])


def left(cluster: Cluster, space: str) -> list[str]:
    found = cluster.get("jobs,pods", *OURS, namespace=space)
    return [f"{one['kind']} {one['metadata']['name']}" for one in found]


class TestSuite(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, mapping: ProcessingKubernetesBackend) -> ProcessingKubernetesBackend:
        return mapping

    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, folder: Path) -> str:
        return folder.as_uri()

    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls) -> float:
        return 200.0  # a tenth of it is how long units wait for others, whose pods have to start


@pytest.fixture
def bench(mapping: ProcessingKubernetesBackend, folder: Path, tmp_path: Path) -> Iterator[MapBench]:
    with UserProject(tmp_path) as project:
        yield MapBench(mapping, project, folder.as_uri(), 200.0)


@pytest.fixture(autouse=True)
def _nothing_is_left(
    request: pytest.FixtureRequest, cluster: Cluster, space: str
) -> Iterator[None]:
    yield
    if request.cls is None:
        wait_until(lambda: not left(cluster, space), what="the end of the Job and its pods")


def changed(bench: MapBench, **options: Any) -> MapBench:
    return MapBench(bench.backend.replace(**options), bench.project, bench.store.url, 200.0)


@pytest.mark.parametrize("count", [10, 500])
def test_the_api_server_is_asked_as_little_for_many_units_as_for_few(
    bench: MapBench, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    asked: list[str] = []
    request = Api._request

    def counted(self: Api, method: str, path: str, *given: Any, **named: Any) -> Any:
        asked.append(f"{method} {path.rpartition(f'/namespaces/{self.namespace}/')[2]}")
        return request(self, method, path, *given, **named)

    monkeypatch.setattr(Api, "_request", counted)
    assert len(bench.by_index(bench.units("square", range(count)))) == count
    # Events are asked for every few seconds where pods are slow to begin, as on a busy machine.
    verbs = Counter(line.split()[0] for line in asked if not line.endswith(" events"))
    assert verbs == {"GET": 4, "POST": 1, "DELETE": 1}, asked


def test_memory_that_runs_out_each_time_ends_the_map(bench: MapBench) -> None:
    (bench.project.folder / "hoarder.py").write_text(HOARDER)
    hungry = changed(bench, memory="128Mi")
    error = hungry.failure([Unit("hoarder:hoard", 1, "code")])
    assert isinstance(error, RunError)
    assert error.cause == "OOM"
    assert "more memory=" in str(error.remedy)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"image": "localhost/no-such-image:1", "image_pull_policy": "Never"}, "IMAGE"),
        ({"memory": "900Ti", "pending_timeout": 3.0}, "UNSCHEDULABLE"),
        ({"environment_from_secrets": {"A": {"name": "none", "key": "a"}}}, "CONFIG"),
        ({"service_account": "none"}, "CONFIG"),
        ({"python": "no-such-python"}, "IMAGE"),
        ({"volumes": []}, "CONFIG"),
        ({"timeout": 1.0, "node_selector": {"zenml.io/none": "x"}}, "TIMEOUT"),
    ],
)
def test_what_cannot_work_ends_the_map(bench: MapBench, options: Any, cause: str) -> None:
    once = changed(bench, backoff_limit_per_index=0, **options)
    error = once.failure(once.units("square", range(3)))
    assert isinstance(error, RunError), error
    assert error.cause == cause, error
    assert error.remedy


def test_a_pod_that_is_evicted_is_followed_by_another(
    bench: MapBench, cluster: Cluster, space: str
) -> None:
    # Not as often as this would be forgiven to a pod that ended by itself.
    patient = changed(bench, backoff_limit_per_index=0, termination_grace_period=1)
    marks = new_marks()
    units = patient.units_with_marks("mark", 1, marks, seconds=5.0)
    with ThreadPoolExecutor(1) as thread, patient.read(units) as reading:
        results = thread.submit(reading.rest)
        wait_until(lambda: patient.marks(marks), 100, what="a pod that works")
        [pod] = cluster.get("pods", *OURS, namespace=space)
        metadata = {"name": pod["metadata"]["name"], "namespace": space}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        path = f"/api/v1/namespaces/{space}/pods/{metadata['name']}/eviction"
        cluster.kubectl("create", "--raw", path, "--filename", "-", manifest=eviction)
        assert results.result() == [(0, 0)]
    assert patient.marks(marks) == 2


def test_a_client_that_was_killed_is_followed_by_one_that_starts_no_second_job(
    bench: MapBench, cluster: Cluster, space: str
) -> None:
    marks = new_marks()
    units = bench.units_with_marks("mark", 8, marks, seconds=2.0)
    context = bench.context()
    client = bench.client(units, context)
    wait_until(lambda: bench.marks(marks) > 2, 100, what="the first units")
    os.killpg(client.pid, signal.SIGKILL)
    client.communicate()
    [job] = cluster.get("jobs", *OURS, namespace=space)

    # As the engine does: what was finished is not asked for again.
    remembered = {
        found.key.rpartition("/")[2].removesuffix(".json")
        for found in bench.store.list(f"{context.scope}/")
    }
    rest = [unit for unit in units if unit.digest not in remembered]
    with bench.read(rest, context) as reading:
        results = [reading.take()]
        assert [one["metadata"]["uid"] for one in cluster.get("jobs", *OURS, namespace=space)] == [
            job["metadata"]["uid"]
        ]
        results += reading.rest()
    assert sorted(index for index, _ in results) == [*range(len(rest))]
    assert bench.marks(marks) == 8


def test_a_job_that_somebody_deletes_ends_the_map(
    bench: MapBench, cluster: Cluster, space: str
) -> None:
    marks = new_marks()
    units = bench.units_with_marks("mark", 1, marks, seconds=60.0)
    with ThreadPoolExecutor(1) as thread, bench.read(units) as reading:
        results = thread.submit(reading.rest)
        wait_until(lambda: bench.marks(marks), 100, what="a pod that works")
        cluster.kubectl("delete", "jobs", *OURS, "--namespace", space)
        with pytest.raises(RunError, match="deleted") as caught:
            results.result()
    assert caught.value.cause == "LOST"
