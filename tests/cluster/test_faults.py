"""What happens to clusters and to Jobs: each ends in its own cause, and nothing is left."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import Cluster
from user_work import Client

from zenml.core.testing import Project, wait_until

BACKEND = "zenml.k8s:OrchestratorKubernetesBackend"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project")
    yield made
    made.end_processes()


@pytest.fixture
def client(parameters: dict[str, Any], folder: Path, project: Project) -> Callable[..., Client]:
    """Starts a user's process: how the work goes, and parameters of the backend."""

    def start(
        how: str = "wait", *, detach: bool = False, also: Sequence[Any] = (), **others: Any
    ) -> Client:
        volumes = [*parameters["volumes"], *also]
        options = {**parameters, "volumes": volumes, "retry_delay": 0.5, **others}
        return Client(project, BACKEND, options, store=folder.as_uri(), how=how, detach=detach)

    return start


def the_pod(cluster: Cluster, namespace: str) -> str:
    """The name of the pod that runs."""

    def running() -> list[str]:
        pods = cluster.get("pods", namespace=namespace)
        return [
            pod["metadata"]["name"]
            for pod in pods
            if pod["status"].get("phase") == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        ]

    found: list[str] = wait_until(running, what="a pod that runs")
    return found[-1]


# -- pods ----------------------------------------------------------------------------------------


def test_a_pod_that_is_deleted_is_followed_by_another(
    cluster: Cluster, namespace: str, client: Callable[..., Client]
) -> None:
    started = client()
    started.wait_for_marks()
    cluster.kubectl("delete", "pod", the_pod(cluster, namespace), "-n", namespace, "--wait=false")
    started.wait_for_marks(2)
    started.go()
    assert "PREEMPTED" in started.succeeded()
    assert started.marks == 2


def test_a_container_beyond_its_memory_is_out_of_memory(client: Callable[..., Client]) -> None:
    found, said = client("memory", memory="300Mi").end()
    assert (found["status"], found["cause"]) == ("failed", "OOM"), said
    assert "memory" in found["message"]


def test_a_users_error_is_the_users(client: Callable[..., Client]) -> None:
    found, said = client("mistake").end()
    assert "ValueError: no good" in found["message"], said
    assert 'work.py", line' in found["traceback"]


def test_a_drained_node_is_left_for_another(
    cluster: Cluster, namespace: str, client: Callable[..., Client]
) -> None:
    started = client()
    started.wait_for_marks()
    pod = the_pod(cluster, namespace)
    node = cluster.get("pod", pod, namespace=namespace)["spec"]["nodeName"]
    try:
        drained = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force")
        cluster.kubectl(*drained, "--pod-selector=zenml.io/run", "--timeout=60s")
        wait_until(
            lambda: any(
                "SchedulingDisabled" in line or "unschedulable" in line
                for line in cluster.kubectl("get", "events", "-n", namespace).splitlines()
            ),
            timeout=60,
            what="a pod that no node takes",
        )
    finally:
        cluster.kubectl("uncordon", node)
    started.wait_for_marks(2)
    started.go()
    said = started.succeeded()
    assert re.search("PREEMPTED|EVICTED", said)
    assert "no node takes the pod" in said


# -- the cluster ---------------------------------------------------------------------------------


def test_an_api_server_that_is_restarted_is_not_noticed(
    cluster: Cluster, client: Callable[..., Client]
) -> None:
    started = client()
    started.wait_for_marks()
    cluster.restart("kube-apiserver")
    started.go()
    started.succeeded()
    assert started.marks == 1


def test_an_etcd_that_hangs_for_twenty_seconds_is_waited_for(
    cluster: Cluster, client: Callable[..., Client]
) -> None:
    started = client()
    started.wait_for_marks()
    cluster.pause("etcd")
    try:
        time.sleep(10)
        started.go()  # its end falls into the silence
        time.sleep(10)
    finally:
        cluster.resume("etcd")
    started.succeeded()
    assert started.marks == 1


def test_work_on_a_node_whose_kubelet_is_away_counts(
    cluster: Cluster, namespace: str, client: Callable[..., Client]
) -> None:
    started = client()
    started.wait_for_marks()
    cluster.kill("kubelet")
    try:
        started.go()
        started.succeeded()
    finally:
        cluster.start_component("kubelet")
    assert started.marks == 1


# -- before it runs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "cause", "words"),
    [
        ({"image": "localhost/no-such:1", "image_pull_policy": "Never"}, "IMAGE", "no-such"),
        ({"python": "/no/such/python"}, "IMAGE", "/no/such/python"),
        ({"memory": "900Ti", "pending_timeout": 3.0}, "UNSCHEDULABLE", "Insufficient memory"),
        (
            {"environment_from_secrets": {"KEY": {"name": "nope", "key": "k"}}},
            "CONFIG",
            'secret "nope" not found',
        ),
        ({"service_account": "nobody"}, "CONFIG", "nobody"),
        (
            {
                "pod_template": {
                    "spec": {
                        "containers": [
                            {
                                "name": "zenml",
                                "securityContext": {
                                    "privileged": True,
                                    "allowPrivilegeEscalation": True,
                                },
                            }
                        ]
                    }
                }
            },
            "CONFIG",
            "violates PodSecurity",
        ),
        (
            {
                "pod_template": {
                    "spec": {
                        "initContainers": [
                            {
                                "name": "first",
                                "image": "localhost/no-such:2",
                                "imagePullPolicy": "Never",
                                "securityContext": {
                                    "allowPrivilegeEscalation": False,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                            }
                        ]
                    }
                }
            },
            "IMAGE",
            "no-such:2",
        ),
    ],
    ids=["image", "python", "unschedulable", "secret", "account", "admission", "init"],
)
def test_what_can_never_run_is_told_within_seconds(
    client: Callable[..., Client], options: dict[str, Any], cause: str, words: str
) -> None:
    found, said = client("fine", **options).end(90)
    assert (found["status"], found["cause"]) == ("failed", cause), (found, said)
    assert words in found["message"], found
    assert found["seconds"] < 60, found


def test_a_secret_volume_that_is_not_there_is_told(
    client: Callable[..., Client],
) -> None:
    found, said = client("fine", also=[{"mount_path": "/keys", "secret_name": "nope"}]).end(120)
    assert (found["status"], found["cause"]) == ("failed", "CONFIG"), (found, said)
    assert 'secret "nope" not found' in found["message"]


def test_a_quota_that_is_used_up_is_told_and_waited_for(
    cluster: Cluster, namespace: str, client: Callable[..., Client]
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    cluster.apply(quota)
    wait_until(
        lambda: cluster.get("resourcequota", "full", namespace=namespace).get("status"),
        what="the quota",
    )
    found, said = client("fine", pending_timeout=8.0).end(120)
    assert (found["status"], found["cause"]) == ("failed", "UNSCHEDULABLE"), (found, said)
    assert "exceeded quota: full" in found["message"]
    assert "describe quota" in said


# -- clients -------------------------------------------------------------------------------------


def test_a_client_that_is_killed_is_replaced_by_another(
    cluster: Cluster, namespace: str, client: Callable[..., Client], project: Project
) -> None:
    started = client()
    started.wait_for_marks()
    started.kill()
    started.go()
    waited = project.zenml("run", "wait", "last", "--store", started.store.url)
    assert waited.returncode == 0, waited.stderr
    assert started.marks == 1


def test_a_job_that_was_collected_before_anybody_looked_has_succeeded(
    cluster: Cluster, namespace: str, client: Callable[..., Client], project: Project
) -> None:
    started = client("fine", detach=True)
    started.end()
    wait_until(
        lambda: [
            job
            for job in cluster.get("jobs", namespace=namespace)
            if job["status"].get("succeeded")
        ],
        timeout=120,
        what="a Job that has succeeded",
    )
    cluster.kubectl("delete", "jobs", "--all", "-n", namespace)
    waited = project.zenml("run", "wait", "last", "--store", started.store.url)
    assert waited.returncode == 0, waited.stderr
    assert "succeeded" in waited.stdout


def test_a_job_that_vanishes_without_a_word_is_lost(
    cluster: Cluster, namespace: str, client: Callable[..., Client]
) -> None:
    started = client(image="localhost/no-such:1", image_pull_policy="Always", retries={"LOST": 0})
    wait_until(lambda: cluster.get("jobs", namespace=namespace), timeout=60, what="the Job")
    with contextlib.suppress(subprocess.CalledProcessError):
        cluster.kubectl("delete", "jobs", "--all", "-n", namespace)
    found, said = started.end()
    assert (found["status"], found["cause"]) in (("failed", "LOST"), ("failed", "IMAGE")), said


def test_a_run_is_cancelled_from_another_machine(
    cluster: Cluster, namespace: str, client: Callable[..., Client], project: Project
) -> None:
    started = client()
    started.wait_for_marks()
    project.zenml("run", "cancel", "last", "--store", started.store.url)
    found, said = started.end()
    assert found["kind"] == "RunCancelledError", (found, said)
    wait_until(
        lambda: not cluster.get("pods", namespace=namespace),
        timeout=90,
        what="the end of the pods",
    )
