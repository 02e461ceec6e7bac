"""The cluster that other tests rely on: that it is a real one, can be hurt, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from harness import LIMITED, Cluster, LocalCluster, _machine, _processes, images, wait_until
from harness._cache import mounts
from harness.cluster import FAULTS

HERE = Path(__file__).parent

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def a_job(
    namespace: str, image: str, code: str, *, pod: Any = None, container: Any = None, **spec: Any
) -> Any:
    """A Job whose pods run a line of Python."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job", "namespace": namespace},
        "spec": {
            "backoffLimit": 0,
            **spec,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    **(pod or {}),
                    "containers": [
                        {
                            "name": "main",
                            "image": image,
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["python3", "-c", code],
                            "securityContext": RESTRICTED,
                            **(container or {}),
                        }
                    ],
                }
            },
        },
    }


def end_of(cluster: Cluster, namespace: str, seconds: float = 90.0) -> str:
    """Wait until the job has ended; says how."""

    def ended() -> str:
        status = cluster.get("job", "job", namespace=namespace)["status"]
        found = {one["type"] for one in status.get("conditions", []) if one["status"] == "True"}
        return " ".join(found & {"Complete", "Failed"})

    def told() -> str:
        return f"the end of the job; {cluster.events(namespace)}"

    return str(wait_until(ended, seconds, told))


def log_of(cluster: Cluster, namespace: str) -> str:
    """What the job's only pod printed; the job has to complete."""
    end = end_of(cluster, namespace)
    printed = cluster.kubectl("logs", "job/job", "--namespace", namespace)
    assert end == "Complete", printed
    return printed


def pods(cluster: Cluster, namespace: str) -> list[Any]:
    found: list[Any] = cluster.get("pods", namespace=namespace)
    return found


@pytest.fixture(scope="session")
def faulty(cluster: Cluster) -> LocalCluster:
    """A cluster whose components may be hurt."""
    if not isinstance(cluster, LocalCluster):
        pytest.skip(FAULTS)
    return cluster


@pytest.fixture
def server(cluster: Cluster) -> Iterator[str]:
    """A web server of this machine, for pods."""

    class Greeting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"greetings from the host")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer((cluster.host, 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{cluster.host}:{server.server_port}/"
        server.shutdown()
        thread.join()


# -- a real cluster --------------------------------------------------------------------------------


def test_a_job_of_two_pods_completes_and_its_logs_can_be_read(
    cluster: Cluster, namespace: str, image: str
) -> None:
    cluster.apply(a_job(namespace, image, "print('hello')", completions=2, parallelism=2))

    assert end_of(cluster, namespace) == "Complete"
    assert [pod["status"]["phase"] for pod in pods(cluster, namespace)] == ["Succeeded"] * 2
    for pod in pods(cluster, namespace):
        name = pod["metadata"]["name"]
        assert cluster.kubectl("logs", name, "--namespace", namespace) == "hello\n"


def test_a_privileged_pod_is_refused_and_the_job_says_so_in_an_event(
    cluster: Cluster, namespace: str, image: str
) -> None:
    privileged = {"securityContext": {"privileged": True}}

    cluster.apply(a_job(namespace, image, "pass", container=privileged))

    message = wait_until(
        lambda: dict(cluster.events(namespace)).get("FailedCreate"), what="a refusal"
    )
    assert 'violates PodSecurity "restricted' in message
    assert "privileged" in message
    assert pods(cluster, namespace) == []


def test_a_pod_over_its_memory_limit_is_killed_and_the_cause_can_be_seen(
    cluster: Cluster, namespace: str, image: str
) -> None:
    limited = {"resources": {"limits": {"memory": "64Mi"}}}

    cluster.apply(a_job(namespace, image, "len(b'x' * (1 << 28))", container=limited))

    assert end_of(cluster, namespace) == "Failed"
    [pod] = pods(cluster, namespace)
    [status] = pod["status"]["containerStatuses"]
    ended = status["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_a_pod_reaches_a_server_of_this_machine(
    cluster: Cluster, namespace: str, image: str, server: str
) -> None:
    read = f"import urllib.request as r; print(r.urlopen({server!r}, timeout=10).read().decode())"

    cluster.apply(a_job(namespace, image, read))

    assert log_of(cluster, namespace) == "greetings from the host\n"


def test_a_pod_asks_the_api_server_as_its_own_account(
    cluster: Cluster, namespace: str, image: str
) -> None:
    ask = """
import json, os, ssl, urllib.error, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
url = f"https://{host}:{port}/api/v1/secrets"
token = {"Authorization": "Bearer " + open(f"{folder}/token").read()}
context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
try:
    urllib.request.urlopen(urllib.request.Request(url, headers=token), context=context, timeout=10)
except urllib.error.HTTPError as error:
    print(json.load(error)["message"])
"""
    cluster.apply(a_job(namespace, image, ask, pod={"automountServiceAccountToken": True}))

    told = log_of(cluster, namespace)
    assert f'User "system:serviceaccount:{namespace}:default" cannot list' in told


def test_tests_and_pods_write_into_the_same_folder(
    cluster: Cluster, namespace: str, image: str, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    claim = cluster.shared_volume(namespace, folder)
    (folder / "by the test").mkdir(mode=0o777)
    mount = {"name": "shared", "mountPath": str(folder)}
    volume = {"name": "shared", "persistentVolumeClaim": {"claimName": claim}}
    write = f"""
import os
os.chdir({str(folder)!r})
print(os.getuid())
os.makedirs("by the pod/and/deeper")
for folder in ("by the test", "by the pod/and/deeper"):
    open(folder + "/file", "w").write("from the pod")
"""

    cluster.apply(
        a_job(
            namespace,
            image,
            write,
            pod={"volumes": [volume]},
            container={"volumeMounts": [mount]},
        )
    )

    assert log_of(cluster, namespace) == "1000\n"
    for name in ("by the test", "by the pod/and/deeper"):
        assert (folder / name / "file").read_text() == "from the pod"
        # Also as somebody who is not root.
        assert (folder / name).stat().st_mode & 0o777 == 0o777


def test_a_user_without_rights_is_refused_until_given_some(
    cluster: Cluster, namespace: str
) -> None:
    user = LIMITED[0]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cluster.kubectl("get", "pods", "-n", namespace, user=user)
    assert f'User "{user}" cannot list resource "pods"' in refused.value.stderr

    role = ("create", "role", "reader", "--verb=list", "--resource=pods")
    cluster.kubectl(*role, "-n", namespace)
    binding = ("create", "rolebinding", "reader", "--role=reader", f"--user={user}")
    cluster.kubectl(*binding, "-n", namespace)

    cluster.kubectl("get", "pods", "-n", namespace, user=user)


def test_the_image_runs_zenml_and_nothing_in_it_can_be_written(
    cluster: Cluster, namespace: str, image: str
) -> None:
    look = """
import os, subprocess, sys
import zenml.core, zenml.local, zenml.steps.trainer
subprocess.run(["zenml", "backend", "list"], check=True)
for folder in ("/opt/zenml", "/workspace", "/"):
    try:
        open(folder + "/new", "w")
    except OSError:
        print("cannot write in", folder)
open("/tmp/new", "w")
module = sys.modules["zenml.core"]
with open(module.__cached__, "rb") as file:
    print("checked by content:", file.read(8)[4] == 3)
"""
    volume, mount = {"name": "tmp", "emptyDir": {}}, {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108

    cluster.apply(
        a_job(
            namespace,
            image,
            look,
            pod={"volumes": [volume]},
            container={"volumeMounts": [mount]},
        )
    )

    told = log_of(cluster, namespace)
    for name in ("/opt/zenml", "/workspace", "/"):
        assert f"cannot write in {name}\n" in told
    assert "checked by content: True\n" in told
    assert re.search(r"^training +subprocess +available", told, re.MULTILINE)


# -- a cluster that is hurt ------------------------------------------------------------------------


def test_a_job_survives_a_restart_of_the_api_server(
    faulty: LocalCluster, namespace: str, image: str
) -> None:
    faulty.apply(a_job(namespace, image, "import time; time.sleep(5); print('done')"))

    faulty.restart("kube-apiserver")

    assert end_of(faulty, namespace) == "Complete"


def test_a_job_survives_a_database_that_stands_still(
    faulty: LocalCluster, namespace: str, image: str
) -> None:
    faulty.apply(a_job(namespace, image, "print('done')"))

    faulty.pause("etcd")
    try:
        with pytest.raises(subprocess.CalledProcessError):
            faulty.kubectl("get", "job", "job", "-n", namespace, "--request-timeout=2s")
    finally:
        faulty.resume("etcd")

    assert end_of(faulty, namespace) == "Complete"


def test_a_job_survives_the_kubelet_and_containerd(
    faulty: LocalCluster, namespace: str, image: str
) -> None:
    faulty.apply(a_job(namespace, image, "import time; time.sleep(4); print('done')"))
    wait_until(
        lambda: [pod["status"]["phase"] for pod in pods(faulty, namespace)] == ["Running"],
        what=lambda: faulty.events(namespace),
    )

    for component in ("kubelet", "containerd"):
        faulty.kill(component)
    for component in ("containerd", "kubelet"):
        faulty.start_component(component)

    assert end_of(faulty, namespace) == "Complete"
    [pod] = pods(faulty, namespace)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_two_hundred_pods_run_on_fifty_simulated_nodes(
    faulty: LocalCluster, namespace: str, image: str
) -> None:
    label = faulty.start_kwok(50, seconds=2)
    there = {
        "nodeSelector": {label: "true"},
        "tolerations": [{"key": label, "operator": "Exists"}],
    }

    faulty.apply(a_job(namespace, image, "pass", pod=there, completions=200, parallelism=200))

    assert end_of(faulty, namespace) == "Complete"
    ran = [pod["spec"]["nodeName"] for pod in pods(faulty, namespace)]
    assert len(ran) == 200
    assert len(set(ran)) == 50


# -- a cluster that ends ---------------------------------------------------------------------------


def everything_of(cluster: LocalCluster) -> tuple[Path, list[tuple[int, int]]]:
    """What the test knows of a cluster afterwards, having seen that there is much to leave."""
    processes = cluster.processes()
    assert len(processes) > 10, "the components, a shim, a sandbox, a container"
    assert len(_machine.links(cluster.run.name)) == 2
    assert _machine.control_groups(cluster.run.name)
    return cluster.run, processes


def nothing_is_left_of(run: Path, processes: list[tuple[int, int]]) -> None:
    assert [process for process in processes if _processes.is_alive(process)] == []
    assert _processes.of_run(run) == []
    assert not run.exists()
    assert mounts(run) == []
    assert _machine.links(run.name) == []
    assert _machine.control_groups(run.name) == []


def kernel_settings() -> dict[str, str]:
    names = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
    return {name: Path("/proc/sys", name).read_text() for name in names}


def folders_of_the_machine() -> dict[str, list[str]]:
    names = [
        "/run/containerd",
        "/run/netns",
        "/var/log/containers",
        "/var/log/pods",
        "/var/lib/cni",
    ]
    names += ["/var/lib/kubelet", "/opt/containerd", "/etc/cni", "/usr/libexec/kubernetes"]
    return {name: sorted(map(str, Path(name).rglob("*"))) for name in names if Path(name).exists()}


@pytest.fixture
def sleeping(faulty: LocalCluster) -> str:
    """The manifest of a job that would go on for ever, in an image that is loaded soon."""
    user = {"securityContext": {"runAsNonRoot": True, "runAsUser": 1000}}
    code = "import time; time.sleep(10**6)"
    return json.dumps(a_job("default", images.BASE, code, pod=user))


START = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from harness import LocalCluster, images, wait_until
cluster = LocalCluster()
cluster.start()
cluster.load(images.base())
cluster.apply(json.loads(sys.argv[2]))
wait_until(lambda: "Running" in [p["status"]["phase"] for p in cluster.get("pods", "-A")])
print(json.dumps([str(cluster.run), cluster.processes()]), flush=True)
time.sleep(10**6)
"""


def test_a_cluster_that_is_stopped_leaves_nothing(sleeping: str) -> None:
    kernel, folders = kernel_settings(), folders_of_the_machine()
    with LocalCluster() as cluster:
        cluster.load(images.base())
        cluster.apply(json.loads(sleeping))
        wait_until(
            lambda: "Running" in [pod["status"]["phase"] for pod in pods(cluster, "default")]
        )
        run, processes = everything_of(cluster)

    nothing_is_left_of(run, processes)
    assert kernel_settings() == kernel
    assert folders_of_the_machine() == folders


def test_what_a_killed_session_left_is_removed_by_the_next(sleeping: str) -> None:
    command = [sys.executable, "-c", START, str(HERE), sleeping]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        name, found = json.loads(session.stdout.readline())
        run, processes = Path(name), [(pid, began) for pid, began in found]
        session.kill()
    assert any(_processes.is_alive(process) for process in processes)
    # One that stands still has to end, too.
    os.kill(processes[0][0], signal.SIGSTOP)

    with LocalCluster():
        pass

    nothing_is_left_of(run, processes)
