"""What happens to machines, and on the way to the API: each has its cause, nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
import user_work
from harness import ComputeServer, FaultProxy

from zenml.core import Handle, Job
from zenml.core.errors import BackendError
from zenml.core.testing import Project, wait_until
from zenml.gcp import OrchestratorGCPBackend

HERE = Path(__file__).parent

BACKEND = "zenml.gcp:OrchestratorGCPBackend"

#: Nobody's fault is tried again.
NEVER = {"LOST": 0, "INFRA": 0, "PREEMPTED": 0, "EVICTED": 0}


class Client(user_work.Client):
    """One whose pipeline runs on a machine of the stand-in."""

    def __init__(self, compute: ComputeServer, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._compute = compute

    def machine(self, number: int = 1) -> str:
        """The name of the machine on which the work has begun for that time."""
        self.wait_for_marks(number)
        names = [one["name"] for one in self._compute.machines() if one["status"] == "RUNNING"]
        assert len(names) == 1, names
        return str(names[0])


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project")
    yield made
    made.end_processes()


@pytest.fixture
def service(compute: ComputeServer) -> Iterator[ComputeServer]:
    """Compute Engine; the test finds no machine in it, and may leave none."""
    yield compute
    compute.lack()
    compute.hurry(1.0)
    try:
        no_machine_is_left(compute)
    except TimeoutError:
        # That is this test's fault, and not to be the next one's.
        for one in compute.machines():
            compute.vanish(one["name"])
        raise


def no_machine_is_left(service: ComputeServer) -> None:
    """Wait until all have gone: those that nobody has removed do that themselves."""
    wait_until(lambda: not service.machines(), timeout=90, what="the end of all machines")


@pytest.fixture
def store(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


@pytest.fixture
def client(
    service: ComputeServer, machine: dict[str, Any], project: Project, store: str
) -> Callable[..., Client]:
    """Starts a user's process: how the work goes, and parameters of the backend."""

    def start(
        how: str = "wait", *, detach: bool = False, store: str = store, **others: Any
    ) -> Client:
        options = {**machine, "retry_delay": 0.2, **others}
        return Client(service, project, BACKEND, options, store=store, how=how, detach=detach)

    return start


def inserted(service: ComputeServer) -> int:
    """How many machines were ever made."""
    return len(service.operations("insert"))


@pytest.fixture
def job() -> Job:
    name = f"zenml-{secrets.token_hex(8)}-1"
    folder = f"runs/{name}/jobs/plan/1"
    return Job(
        name=name,
        run=name,
        pipeline="p",
        step=None,
        attempt=1,
        store="file:///nowhere",
        folder=folder,
        digest=secrets.token_hex(32),
    )


# -- machines that are taken away ----------------------------------------------------------------


@pytest.mark.parametrize("seconds", [30.0, 0.0], ids=["with notice", "at once"])
def test_a_machine_that_is_taken_away_is_followed_by_another(
    service: ComputeServer, client: Callable[..., Client], seconds: float
) -> None:
    before = inserted(service)
    started = client()
    service.preempt(started.machine(), seconds)
    started.machine(2)
    started.go()
    assert "PREEMPTED" in started.succeeded()
    assert (started.marks, inserted(service) - before) == (2, 2)


@pytest.mark.parametrize("what", ["stop", "delete"])
def test_a_machine_that_somebody_ends_in_the_console_ends_the_run(
    service: ComputeServer, client: Callable[..., Client], what: str
) -> None:
    started = client()
    getattr(service, what)(started.machine(), "ops@example.com")
    found, said = started.end()
    assert found["kind"] == "RunCancelledError", (found, said)
    assert started.marks == 1


def test_a_machine_that_is_still_being_stopped_is_deleted_when_it_is_off(
    service: ComputeServer, machine: dict[str, Any], job: Job
) -> None:
    backend = OrchestratorGCPBackend(**machine)
    body = backend.render(job)["instance"]
    scripts = {"startup-script": "sleep 600", "shutdown-script": "sleep 3"}
    for item in body["metadata"]["items"]:
        item["value"] = scripts.get(item["key"], item["value"])
    requests.post(service.instances, json=body, timeout=30).raise_for_status()
    handle = backend.find(job)
    assert handle is not None
    wait_until(lambda: status_of(service) == ["RUNNING"], timeout=30, what="a machine that runs")
    service.stop(body["name"])
    backend.cleanup(handle)
    assert status_of(service) in (["STOPPING"], [])
    assert service.operations("delete")[-1]["targetId"] == handle.data["id"]


def status_of(service: ComputeServer) -> list[str]:
    """What each machine is at the moment."""
    return [str(one["status"]) for one in service.machines()]


def test_a_machine_that_vanishes_is_lost(
    service: ComputeServer, client: Callable[..., Client]
) -> None:
    started = client(retries=NEVER)
    service.vanish(started.machine())
    assert "not there any more" in started.failed("LOST")


# -- machines that cannot do their work ----------------------------------------------------------


def script_of(service: ComputeServer, name: str) -> int:
    """The process id of a machine's startup script."""
    [folder] = [one["folder"] for one in service.machines() if one["name"] == name]
    return int(Path(folder, "script.pid").read_text())


def guard_of(service: ComputeServer, name: str) -> int:
    """The process id of what waits for the end of that script."""
    script = script_of(service, name)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[2:4] == [b"guard", str(script).encode()]:
                    return int(entry.name)
    raise AssertionError("there is no guard")


def test_a_machine_whose_startup_script_dies_saves_its_work_and_deletes_itself(
    service: ComputeServer, client: Callable[..., Client]
) -> None:
    started = client(linger=5)
    first = started.machine()
    os.kill(script_of(service, first), signal.SIGKILL)
    assert started.machine(2) != first
    started.go()
    assert "PREEMPTED" in started.succeeded()


def test_a_machine_whose_startup_script_dies_deletes_itself_without_a_client(
    service: ComputeServer, machine: dict[str, Any], client: Callable[..., Client]
) -> None:
    started = client(detach=True, linger=0)
    started.end()
    os.kill(script_of(service, started.machine()), signal.SIGKILL)
    no_machine_is_left(service)


def test_a_machine_deletes_itself_without_a_client(
    service: ComputeServer, client: Callable[..., Client]
) -> None:
    started = client("fine", detach=True, linger=0)
    started.end()
    started.wait_for_marks()
    no_machine_is_left(service)
    [deleted] = [one for one in service.operations("delete") if one["targetId"] == _last(service)]
    assert deleted["user"] == "default"  # the machine's own account


def _last(service: ComputeServer) -> str:
    return str(service.operations("insert")[-1]["targetId"])


def test_a_machine_without_its_guard_deletes_itself(
    service: ComputeServer, client: Callable[..., Client]
) -> None:
    started = client(detach=True, linger=0)
    started.end()
    os.kill(guard_of(service, started.machine()), signal.SIGKILL)
    started.go()
    no_machine_is_left(service)


def test_a_machine_without_docker_says_so(
    service: ComputeServer, client: Callable[..., Client]
) -> None:
    service.lack("docker")
    assert "no docker" in client("fine").failed("CONFIG")


#: A machine with a GPU.
GPU = {"machine_type": "n1-standard-4", "gpu": "T4", "gpu_count": 1}


def test_a_gpu_has_its_driver_before_the_job_begins(
    service: ComputeServer, client: Callable[..., Client]
) -> None:
    started = client(**GPU)
    name = started.machine()
    [folder] = [one["folder"] for one in service.machines() if one["name"] == name]
    done = Path(folder, "done").read_text().splitlines()
    ran = json.loads(Path(folder, "docker", "run.json").read_text())
    started.go()
    started.succeeded()
    assert done[0] == "cos-extensions install gpu"
    assert done[-1] == "mount -o remount,exec /var/lib/nvidia"
    assert "/var/lib/nvidia/lib64:/usr/local/nvidia/lib64:ro" in ran["volume"]
    assert "LD_LIBRARY_PATH=/usr/local/nvidia/lib64" in ran["env"]


@pytest.mark.parametrize(
    ("part", "cause", "words"),
    [("driver", "INFRA", "no such driver"), ("cos-extensions", "CONFIG", "no driver")],
)
def test_a_gpu_without_a_driver_is_told(
    service: ComputeServer, client: Callable[..., Client], part: str, cause: str, words: str
) -> None:
    service.lack(part)
    assert words in client("fine", retries=NEVER, **GPU).failed(cause)


def test_why_a_machine_could_not_work_is_known_when_it_is_gone(
    service: ComputeServer, machine: dict[str, Any], job: Job
) -> None:
    backend = OrchestratorGCPBackend(**{**machine, "image": "r.example/no-such:1", "linger": 0})
    handle = backend.submit(job)
    no_machine_is_left(service)
    state = backend.poll(handle)
    assert (state.phase, state.cause) == ("failed", "IMAGE")
    backend.cleanup(handle)


def test_a_machine_that_may_not_delete_itself_switches_itself_off(
    service: ComputeServer, machine: dict[str, Any], job: Job
) -> None:
    service.lack("permission")
    backend = OrchestratorGCPBackend(**{**machine, "image": "r.example/no-such:1", "linger": 0})
    handle = backend.submit(job)

    def status() -> str:
        backend.poll(handle)
        return str(next(one["status"] for one in service.machines()))

    wait_until(lambda: status() == "TERMINATED", timeout=120, what="a machine that is off")
    assert backend.poll(handle).ended
    backend.cleanup(handle)


def test_no_machine_lives_longer_than_it_may(
    service: ComputeServer, client: Callable[..., Client]
) -> None:
    service.hurry(120 * 86400 / 10)
    started = client(retries=NEVER)
    found, said = started.end()
    assert found["status"] == "failed", (found, said)
    assert service.operations("delete")[-1]["user"] in ("system@google.com", "tester@example.com")


# -- machines that are not to be had -------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "another zone="),
        ("QUOTA_EXCEEDED", "quota"),
    ],
)
def test_a_machine_that_is_not_to_be_had_is_told(
    service: ComputeServer, client: Callable[..., Client], code: str, words: str
) -> None:
    service.fail_insert(code, "The zone does not have enough resources available.")
    message = client("fine").failed("UNSCHEDULABLE")
    assert code in message
    assert words in message


def test_a_machine_that_is_not_to_be_had_is_asked_for_again_if_that_is_wanted(
    service: ComputeServer, client: Callable[..., Client]
) -> None:
    service.fail_insert("ZONE_RESOURCE_POOL_EXHAUSTED", "not now")
    started = client("fine", retries={"UNSCHEDULABLE": 1})
    assert "UNSCHEDULABLE" in started.succeeded()


@pytest.mark.parametrize(
    ("status", "reason", "message", "remedy"),
    [
        (403, "forbidden", "Required 'compute.instances.create' permission", "permissions"),
        (403, "accessNotConfigured", "API has not been used in project 1", "services enable"),
        (403, "quotaExceeded", "Quota 'CPUS' exceeded. Limit: 24.0", "quota"),
        (400, "invalid", "Invalid value for field 'x'", "--render"),
        (403, "forbidden", "lacks iam.serviceAccounts.actAs", "serviceAccountUser"),
    ],
)
def test_a_refusal_says_what_to_do(
    service: ComputeServer,
    machine: dict[str, Any],
    job: Job,
    status: int,
    reason: str,
    message: str,
    remedy: str,
) -> None:
    service.refuse_insert(status, reason, message)
    with pytest.raises(BackendError) as caught:
        OrchestratorGCPBackend(**machine).submit(job)
    assert message in caught.value.message
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "userRateLimitExceeded"])
def test_too_many_requests_are_no_refusal(
    service: ComputeServer, machine: dict[str, Any], job: Job, reason: str
) -> None:
    service.refuse_insert(403, reason, "Rate Limit Exceeded")
    with pytest.raises(ConnectionError):
        OrchestratorGCPBackend(**machine).submit(job)


# -- one machine, whoever asks -------------------------------------------------------------------


def test_a_client_that_is_killed_is_replaced_by_another(
    service: ComputeServer, client: Callable[..., Client], project: Project
) -> None:
    before = inserted(service)
    started = client()
    started.machine()
    started.kill()
    started.go()
    waited = project.zenml("run", "wait", "last", "--store", started.store.url)
    assert waited.returncode == 0, waited.stderr
    assert (started.marks, inserted(service) - before) == (1, 1)


def test_a_client_that_is_killed_before_it_wrote_down_the_machine_finds_it(
    service: ComputeServer, client: Callable[..., Client], project: Project
) -> None:
    before = inserted(service)
    started = client(linger=1)
    started.machine()
    started.kill()
    [written] = [one.key for one in started.store.list("runs/") if one.key.endswith("handle.json")]
    started.store.delete(written)
    started.go()
    waited = project.zenml("run", "wait", "last", "--store", started.store.url)
    assert waited.returncode == 0, waited.stderr
    assert (started.marks, inserted(service) - before) == (1, 1)


def test_a_machine_that_another_request_has_made_is_the_one_if_it_does_the_same(
    service: ComputeServer, machine: dict[str, Any], job: Job
) -> None:
    backend = OrchestratorGCPBackend(**{**machine, "image": "r.example/no-such:1"})
    # As it is made of what 'zenml plan --render' prints.
    made = requests.post(service.instances, json=backend.render(job)["instance"], timeout=30).json()
    assert "error" not in made, made
    found = backend.find(job)
    handle = backend.submit(job)
    assert found == handle
    assert handle.data["id"] == made["targetId"]
    other = Job(**{**{f: getattr(job, f) for f in job.__struct_fields__}, "digest": "f" * 64})
    with pytest.raises(BackendError, match="does something else"):
        backend.submit(other)
    assert backend.find(other) is None
    backend.cleanup(handle)


def test_a_machine_of_the_same_name_that_is_another_is_gone(
    service: ComputeServer, machine: dict[str, Any], job: Job
) -> None:
    backend = OrchestratorGCPBackend(**{**machine, "image": "r.example/no-such:1"})
    handle = backend.submit(job)
    another = Handle(job=handle.job, data={**handle.data, "id": "1"})
    assert backend.poll(another).phase == "gone"
    backend.cleanup(handle)


def test_a_run_is_cancelled_from_another_machine(
    service: ComputeServer, client: Callable[..., Client], project: Project
) -> None:
    started = client()
    started.machine()
    project.zenml("run", "cancel", "last", "--store", started.store.url)
    found, said = started.end()
    assert found["kind"] == "RunCancelledError", (found, said)


# -- the way to the API --------------------------------------------------------------------------

#: What is asked of the API, by what the test calls it.
ASKED = {
    "insert": {"method": "POST", "path": "/instances"},
    "look": {"method": "GET", "path": r"/instances/[^/]+$"},
    "read": {"method": "GET", "path": "serialPort"},
    "delete": {"method": "DELETE", "path": "/instances/"},
    "list": {"method": "GET", "path": "/operations"},
}

FAULTS: Sequence[dict[str, Any]] = (
    {"fault": "status", "status": 429},
    {"fault": "status", "status": 500},
    {"fault": "status", "status": 503},
    {"fault": "refused"},
    {"fault": "lost"},
    {"fault": "truncated"},
    {"fault": "duplicated"},
    {"fault": "slow"},
)


@pytest.fixture
def proxy(service: ComputeServer) -> Iterator[FaultProxy]:
    """A proxy in front of the API, which machines reach by it too."""
    with FaultProxy(service.url) as made:
        yield made
        no_machine_is_left(service)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: str(one.get("status", one["fault"])))
def test_no_fault_on_the_way_makes_a_second_machine_or_leaves_one(
    service: ComputeServer,
    client: Callable[..., Client],
    proxy: FaultProxy,
    fault: dict[str, Any],
) -> None:
    before = inserted(service)
    rules = [proxy.inject(**fault, **ASKED[what]) for what in ("insert", "look", "read", "delete")]
    started = client("fine", api_endpoint=proxy.url, linger=5)
    started.succeeded()
    assert (started.marks, inserted(service) - before) == (1, 1)
    assert all(rule.hits for rule in rules[:3]), [rule.hits for rule in rules]


def test_an_api_that_fails_every_third_time_is_asked_again(
    service: ComputeServer, client: Callable[..., Client], proxy: FaultProxy
) -> None:
    before = inserted(service)
    proxy.inject("status", status=503, times=None, every=3)
    started = client(api_endpoint=proxy.url, linger=5)
    service.preempt(started.machine(), 0.0)
    started.wait_for_marks(2)
    started.go()
    started.succeeded()
    assert (started.marks, inserted(service) - before) == (2, 2)


def test_a_token_that_has_run_out_is_no_reason_to_give_a_machine_up(
    service: ComputeServer, client: Callable[..., Client], proxy: FaultProxy
) -> None:
    before = inserted(service)
    rules = [proxy.inject("status", status=401, **ASKED[what]) for what in ("look", "read")]
    started = client("fine", api_endpoint=proxy.url, linger=5)
    assert "log in again" in started.succeeded()
    assert (started.marks, inserted(service) - before) == (1, 1)
    assert all(rule.hits for rule in rules)


# -- secrets and logs ----------------------------------------------------------------------------


def test_a_secret_of_the_client_is_nowhere(
    service: ComputeServer, client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = "planted-secret-not-to-be-seen"
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GOOGLE_API_KEY"):
        monkeypatch.setenv(name, planted)
    started = client()
    name = started.machine()
    serial = service.serial(name) + service.serial(name, 1)
    token = Path(next(one["folder"] for one in service.machines()), "token").read_text()
    started.go()
    said = started.succeeded()
    assert "at work: wait" in serial
    sent = json.dumps(service.asked())
    stored = b"".join(started.store.read(one.key) for one in started.store.list(""))
    for secret in (planted, token):
        assert secret not in serial
        assert secret not in said
        assert secret not in sent
        assert secret.encode() not in stored


def test_artifacts_are_in_a_bucket(client: Callable[..., Client], gcs: str) -> None:
    emulator = {"STORAGE_EMULATOR_HOST": os.environ["STORAGE_EMULATOR_HOST"]}
    started = client("fine", store=gcs, environment=emulator)
    started.succeeded()
    assert started.marks == 1


# -- before anything is started ------------------------------------------------------------------


def test_a_check_says_what_is_there(service: ComputeServer, machine: dict[str, Any]) -> None:
    lines = OrchestratorGCPBackend(
        **machine, machine_type="g2-standard-8", gpu="L4", gpu_count=1
    ).check()
    assert {line.name: line.ok for line in lines} == {
        "zone": True,
        "machine type": True,
        "gpu": True,
        "image": True,
    }


@pytest.mark.parametrize(
    ("change", "name", "remedy"),
    [
        ({"zone": "mars-north1-a"}, "zone", "zones list"),
        ({"machine_type": "e2-none"}, "machine type", "machine-types list"),
        ({"image": None}, "image", "image build"),
        ({"api_endpoint": "http://127.0.0.1:9"}, "reachable", "proxy"),
    ],
)
def test_a_check_says_what_is_missing(
    service: ComputeServer, machine: dict[str, Any], change: Any, name: str, remedy: str
) -> None:
    lines = OrchestratorGCPBackend(**{**machine, **change}).check()
    [wrong] = [line for line in lines if not line.ok]
    assert wrong.name == name
    assert remedy in (wrong.remedy or "")


# -- the stand-in --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"machineTyp": "x"}, "machineTyp"),
        ({"disks": [{"boot": True, "diskSizeGB": 10}]}, "diskSizeGB"),
        ({"id": "1"}, "output only"),
        ({"name": "Upper"}, "name"),
        ({"scheduling": {"provisioningModel": "SPOT"}}, "live migration"),
        ({"machineType": "zones/europe-west1-b/machineTypes/none"}, "does not exist"),
        ({"labels": {"A": "b"}}, "labels"),
    ],
)
def test_the_stand_in_refuses_what_compute_engine_refuses(
    service: ComputeServer, machine: dict[str, Any], job: Job, change: Any, words: str
) -> None:
    body = {**OrchestratorGCPBackend(**machine).render(job)["instance"], **change}
    answer = requests.post(service.instances, json=body, timeout=30)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]["message"]
    assert requests.post(f"{service.instances}?dryRun=1", json=body, timeout=30).status_code == 400


def test_machines_end_with_the_session_however_that_ends(
    machine: dict[str, Any], job: Job, tmp_path: Path
) -> None:
    body = OrchestratorGCPBackend(**machine).render(job)["instance"]
    body["metadata"]["items"] = [
        {"key": "startup-script", "value": "setsid sleep 77777 & sleep 77777"}
    ]
    (tmp_path / "body.json").write_text(json.dumps(body))
    session = subprocess.Popen(
        [sys.executable, "-c", SESSION, str(tmp_path / "body.json")],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert session.stdout is not None
    folder = session.stdout.readline().strip()
    wait_until(lambda: len(sleepers(folder)) == 2, timeout=60, what="the machine's processes")
    session.kill()
    session.communicate()
    wait_until(lambda: not sleepers(folder), timeout=20, what="their end")
    shutil.rmtree(Path(folder).parents[1])  # which nobody was left to remove


SESSION = """
import json, sys, time
import requests
from harness import ComputeServer

with ComputeServer({}) as server:
    body = json.load(open(sys.argv[1]))
    requests.post(server.instances, json=body, timeout=30).raise_for_status()
    print(server.machines()[0]["folder"], flush=True)
    time.sleep(600)
"""


def sleepers(folder: str) -> list[int]:
    """Processes of a machine that sleep for a certain time."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                sleeps = (entry / "cmdline").read_bytes() == b"sleep\x0077777\0"
                if sleeps and os.readlink(entry / "cwd") == folder:
                    found.append(int(entry.name))
    return found
