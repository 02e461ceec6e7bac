"""Training on Vertex AI: what goes wrong in the cloud, on the way to it, and at the client."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import IMAGE, FaultProxy, VertexServer

from zenml.core import ArtifactStore, Job, Run, open_store
from zenml.core.errors import BackendError
from zenml.core.testing import Project, wait_until
from zenml.gcaip import SingleGPUTrainingGCAIPBackend
from zenml.gcaip._machines import GPUS

SOURCES = Path(__file__).parent / "project"

#: What may be in nobody's records: the client's own variables, and what a token looks like.
SECRETS = {
    "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.planted-token-of-the-client",
    "CLIENT_PASSWORD": "planted-password-of-the-client",
}


class Bench:
    """A user's project, its bucket, and the jobs that come of it."""

    def __init__(self, folder: Path, bucket: str, service: VertexServer, proxy: FaultProxy) -> None:
        self.project = Project(folder)
        shutil.copy(SOURCES / "training.py", self.project.folder)
        self.service = service
        self.proxy = proxy
        self.marks = f"marks-{secrets.token_hex(4)}"
        self.store: ArtifactStore = open_store(f"{bucket}/artifacts")
        self.store.prepare()
        self.parameters: dict[str, Any] = {
            "project": "my-project",
            "job_dir": f"{bucket}/jobs",
            "image": IMAGE,
            "api_endpoint": proxy.url,
            "logging_endpoint": proxy.url,
            "retry_delay": 0.05,
        }

    def start(self, **parameters: Any) -> subprocess.Popen[str]:
        """A client that runs the pipeline and waits for it."""
        given = {**self.parameters, **parameters}
        told = {"backend": given, "store": self.store.url, "marks": self.marks}
        return self.project.start("training.py", json.dumps(told), variables=SECRETS)

    def half_done(self, client: subprocess.Popen[str]) -> None:
        """Wait until the trainer waits, with two of its parts in a checkpoint."""

        def waits() -> bool:
            assert client.poll() is None, client.communicate()[1]
            return self.store.exists(f"{self.marks}-half/done")

        wait_until(waits, timeout=60, what="a trainer that waits")

    def go_on(self) -> None:
        self.store.write(f"{self.marks}-go/on", b"")

    def parts(self) -> int:
        """How often a part was done."""
        return len(list(self.store.list(f"{self.marks}/")))

    def created(self) -> list[Any]:
        found = self.service.requests
        return [
            json.loads(body)
            for method, path, body in found
            if method == "POST" and path.endswith("/customJobs")
        ]

    def run(self) -> Run:
        """The latest run of the project."""
        keys = [one.key for one in self.store.list("runs/") if one.key.endswith("/run.json")]
        return Run(max(keys).split("/")[1], self.store)

    def left(self) -> list[str]:
        """The jobs of that run that are there now."""
        run = self.run().id
        return [one.name for one in self.service.jobs() if one.labels.get("zenml_run") == run]

    def job(self, attempt: int = 1) -> Any:
        """The custom job of an attempt, as it is now."""
        run = self.run().id

        def look() -> Any:
            found = [one for one in self.service.jobs() if one.labels.get("zenml_run") == run]
            return next((one for one in found if one.labels["zenml_attempt"] == str(attempt)), None)

        return wait_until(look, timeout=60, what=f"the job of attempt {attempt}")


@pytest.fixture
def proxy(vertex: VertexServer) -> Iterator[FaultProxy]:
    with FaultProxy(vertex.url) as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, gcs: str, vertex: VertexServer, proxy: FaultProxy) -> Iterator[Bench]:
    made = Bench(tmp_path / "project", gcs, vertex, proxy)
    vertex.requests.clear()
    yield made
    made.project.end_processes()
    # What a test that failed has left running ends before the next one.
    for job in vertex.jobs():
        if job.state.name == "JOB_STATE_RUNNING":
            vertex.cancel(job)


def result_of(client: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = client.communicate(timeout=120)
    assert client.returncode == 0, errors
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


# -- in the cloud ----------------------------------------------------------------------------------


def test_a_preempted_training_goes_on_from_its_checkpoint(bench: Bench) -> None:
    client = bench.start(strategy="SPOT")
    bench.half_done(client)
    bench.service.preempt(bench.job())
    bench.job(attempt=2)
    bench.go_on()
    assert result_of(client)["made"] == [10, 11, 12, 13]
    assert bench.parts() == 4, "the second attempt began anew"
    assert len(bench.created()) == 2
    assert not bench.left(), "jobs that have ended are left behind"


def test_a_job_that_is_cancelled_in_the_console_ends_the_run(bench: Bench) -> None:
    client = bench.start()
    bench.half_done(client)
    bench.service.cancel(bench.job())
    _, errors = client.communicate(timeout=60)
    assert client.returncode != 0
    assert "cancelled" in errors
    assert bench.run().status == "cancelled"
    assert len(bench.created()) == 1, "it was tried again"


def test_a_job_that_is_cancelled_in_the_console_before_it_began_ends_the_run(bench: Bench) -> None:
    bench.service.without.add("n1-standard-4")
    try:
        client = bench.start(strategy="FLEX_START", max_wait=600)
        wait_until(bench.created, timeout=60)
        bench.service.cancel(bench.job())
        client.communicate(timeout=60)
    finally:
        bench.service.without.clear()
    assert bench.run().status == "cancelled"
    assert bench.parts() == 0


def test_a_machine_that_is_not_there_is_named_and_flex_start_waits_for_it(bench: Bench) -> None:
    bench.service.without.add("n1-standard-4")
    try:
        _, errors = bench.start().communicate(timeout=60)
        assert "UNSCHEDULABLE" in errors
        assert "insufficient in region" in errors
        bench.go_on()
        client = bench.start(strategy="FLEX_START", max_wait=600)
        wait_until(lambda: len(bench.created()) == 2, timeout=60)
    finally:
        bench.service.without.clear()
    assert result_of(client)["made"] == [10, 11, 12, 13]


def test_what_waits_longer_than_it_may_is_given_up(bench: Bench) -> None:
    bench.service.without.add("n1-standard-4")
    try:
        _, errors = bench.start(strategy="FLEX_START", max_wait=1).communicate(timeout=60)
    finally:
        bench.service.without.clear()
    assert "UNSCHEDULABLE" in errors


def test_a_quota_that_is_used_up_is_said_with_what_to_do(bench: Bench) -> None:
    bench.service.quotas["NVIDIA_TESLA_T4"] = 0
    try:
        _, errors = bench.start().communicate(timeout=60)
    finally:
        bench.service.quotas.clear()
    assert "quota raised" in errors
    assert not bench.left()


def test_a_training_that_takes_too_long_is_ended_by_vertex_ai_too(bench: Bench) -> None:
    _, errors = bench.start(max_running_time=4).communicate(timeout=60)
    assert "TIMEOUT: Vertex AI ended it after 4 s" in errors
    # To its runner that looked like a preemption, which another job would follow.
    assert len(bench.created()) == 1


# -- on the way ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("status", {"status": 429}),
        ("status", {"status": 500}),
        ("status", {"status": 503}),
        ("refused", {}),
        ("lost", {}),
        ("truncated", {}),
        ("duplicated", {}),
        ("slow", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.get("status", "")),
)
def test_a_fault_while_a_job_is_made_makes_one_job(bench: Bench, fault: Any, how: Any) -> None:
    bench.go_on()
    rule = bench.proxy.inject(fault, method="POST", path="/customJobs$|/customJobs\\?", **how)
    assert result_of(bench.start())["made"] == [10, 11, 12, 13]
    assert rule.hits == 1
    assert bench.parts() == 4, "two jobs did the work"
    assert not bench.left()


@pytest.mark.parametrize("fault", ["status", "refused", "truncated", "slow"])
def test_faults_while_a_job_runs_change_nothing(bench: Bench, fault: Any) -> None:
    bench.go_on()
    rule = bench.proxy.inject(fault, method="GET|DELETE", times=None, every=3)
    assert result_of(bench.start())["made"] == [10, 11, 12, 13]
    assert rule.hits
    assert len(bench.created()) == 1


def test_a_token_that_expires_while_a_job_runs_is_waited_for(bench: Bench) -> None:
    client = bench.start()
    bench.half_done(client)
    rule = bench.proxy.inject("status", method="GET", status=401, times=3)
    wait_until(lambda: rule.hits == 3, timeout=60)
    bench.go_on()
    assert result_of(client)["made"] == [10, 11, 12, 13]


# -- at the client ---------------------------------------------------------------------------------


def test_a_job_outlives_its_client_and_the_next_one_takes_what_it_made(bench: Bench) -> None:
    client = bench.start()
    bench.half_done(client)
    client.kill()
    client.communicate()
    bench.go_on()
    found = bench.job()
    wait_until(lambda: _ended(bench, found.name), timeout=60)
    assert result_of(bench.start())["made"] == [10, 11, 12, 13]
    assert bench.parts() == 4
    assert len(bench.created()) == 1, "a second job was made"


def test_a_job_whose_submission_nobody_heard_of_is_the_one(bench: Bench) -> None:
    """A client that is killed between the request and its answer leaves a job without a handle."""
    backend = SingleGPUTrainingGCAIPBackend(**bench.parameters)
    job = _any_job(bench)
    bench.proxy.inject("lost", method="POST")
    assert backend.find(job) is None
    with pytest.raises(ConnectionError):
        backend.submit(job)
    found = backend.find(job)
    handle = backend.submit(job)
    assert found == handle
    [made] = bench.service.jobs(job.name)
    assert handle.data == {"name": made.name}
    assert len(bench.created()) == 1
    backend.cancel(handle, 0.0)
    wait_until(lambda: backend.poll(handle).ended, timeout=60)
    backend.cleanup(handle)
    assert backend.poll(handle).phase == "gone"


def test_nothing_of_the_clients_secrets_is_sent_or_kept(bench: Bench) -> None:
    bench.go_on()
    result_of(bench.start(environment={"TF_CPP_MIN_LOG_LEVEL": "1"}))
    sent = "\n".join(" ".join(request) for request in bench.service.requests)
    headers = "\n".join(str(one.headers) for one in bench.proxy.requests)
    kept = b"\n".join(bench.store.read(found.key) for found in bench.store.list(""))
    logs = "\n".join(map(bench.service.log_of, _all_jobs(bench)))
    assert "given:" in logs, "the trainer printed nothing of what it sees"
    for secret in SECRETS.values():
        assert secret not in sent
        assert secret not in headers
        assert secret not in logs
        assert secret.encode() not in kept


# -- the stand-in itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dispalyName": "x"}, "dispalyName"),
        ({"jobSpec": {"workerPools": []}}, "workerPools"),
        ({"displayName": ""}, "display_name"),
        ({"labels": {"Team": "x"}}, "Team"),
        ({"jobSpec": {"workerPoolSpecs": []}}, "worker_pool_specs"),
        ({"state": 4}, "output-only"),
    ],
)
def test_a_body_that_google_would_not_take_is_refused(
    bench: Bench, change: dict[str, Any], said: str
) -> None:
    url = f"{bench.service.url}/v1/projects/my-project/locations/europe-west1/customJobs"
    spec = {"displayName": "x", "jobSpec": {"workerPoolSpecs": [{"replicaCount": 1}]}}
    answer = requests.post(url, json={**spec, **change}, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert said in answer.json()["error"]["message"]


def test_a_machine_that_cannot_have_the_gpu_is_refused_there_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = SingleGPUTrainingGCAIPBackend(**bench.parameters)
    monkeypatch.setattr("zenml.gcaip._spec.GPUS", {"T4": GPUS["L4"]})
    with pytest.raises(BackendError, match="cannot have"):
        backend.submit(_any_job(bench))


def _any_job(bench: Bench) -> Job:
    return Job(
        name=f"zenml-{secrets.token_hex(8)}-1",
        run="r",
        pipeline="p",
        step="train",
        attempt=1,
        store=bench.store.url,
        folder="runs/r/jobs/step.train/1",
        digest="0" * 64,
    )


def _ended(bench: Bench, name: str) -> bool:
    return next(one for one in bench.service.jobs() if one.name == name).end_time is not None


def _all_jobs(bench: Bench) -> list[Any]:
    return [job.message for job in bench.service._all()]
