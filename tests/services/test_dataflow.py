"""Maps on Dataflow: what goes wrong in the cloud, on the way to it, and at the client."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import FaultProxy, GCSServer
from harness.dataflow import IMAGE, DataflowServer

from zenml.core import Unit
from zenml.core.errors import (
    BackendError,
    ConfigurationError,
    RunError,
    StoreError,
    UnitFailedError,
)
from zenml.core.testing import wait_until
from zenml.core.testing._map_bench import MapBench
from zenml.core.testing._user_project import UserProject, new_marks
from zenml.dataflow import ProcessingDataFlowBackend

#: Of the client's environment; they may be in nobody's records.
SECRETS = {
    "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.planted-token-of-the-client",
    "CLIENT_PASSWORD": "planted-password-of-the-client",
}

SHOWS_ITS_ENVIRONMENT = """
import os

def show(payload, files):
    print("given:", *sorted(os.environ.values()), flush=True)
    return "CLIENT_PASSWORD" in os.environ
"""


class Bench(MapBench):
    """A user's project, its bucket, and the jobs that come of its maps."""

    service: DataflowServer
    proxy: FaultProxy

    def changed(self, **parameters: Any) -> Bench:
        made = Bench(
            self.backend.replace(**parameters), self.project, self.store.url, self.patience
        )
        made.service, made.proxy = self.service, self.proxy
        return made

    def waiting(self, count: int = 3) -> list[Unit]:
        """Units of which one waits until it may go on."""
        self.key = f"{new_marks()}/go"
        held = {"store": self.store.url, "key": self.key, "seconds": 300}
        return [*self.units("wait", [held]), *self.units("square", range(count - 1))]

    def go_on(self) -> None:
        self.store.write(self.key, b"")

    def job(self) -> Any:
        """The one job that there is, once it has a worker."""
        wait_until(
            lambda: any(map(self.service.has_worker, self.service.jobs(running=True))),
            timeout=60,
            what="a worker",
        )
        [found] = self.service.jobs(running=True)
        return found

    def posted(self) -> int:
        return sum(method == "POST" for method, _, _ in self.service.requests)


@pytest.fixture
def proxy(dataflow: DataflowServer) -> Iterator[FaultProxy]:
    with FaultProxy(dataflow.url) as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, gcs: str, dataflow: DataflowServer, proxy: FaultProxy) -> Iterator[Bench]:
    # By its name: Beam's runner speaks REST with nothing else.
    backend = ProcessingDataFlowBackend(
        project="my-project",
        image=IMAGE,
        api_endpoint=proxy.url.replace("127.0.0.1", "localhost"),
        max_num_workers=4,
    )
    dataflow.requests.clear()
    with UserProject(tmp_path) as project:
        made = Bench(backend, project, f"{gcs}/artifacts", 120.0)
        made.service, made.proxy = dataflow, proxy
        yield made
    wait_until(lambda: not dataflow.jobs(running=True), timeout=60, what="the end of all jobs")


def failed(bench: Bench, units: list[Unit], **parameters: Any) -> RunError:
    error = bench.changed(**parameters).failure(units)
    assert isinstance(error, RunError), repr(error)
    return error


# -- in the cloud ----------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_followed_by_another_one(bench: Bench) -> None:
    units = bench.waiting()
    with bench.read(units) as reading:
        assert reading.take() is not None
        job = bench.job()
        bench.service.kill_worker(job)
        wait_until(lambda: bench.service.attempts(job) == 2, timeout=60)
        bench.go_on()
        assert len(reading.rest()) == 2
    assert bench.posted() == 1


def test_a_poisonous_unit_raises_what_it_raised_and_ends_the_job(bench: Bench) -> None:
    error = bench.failure(bench.units("poison", [2, 13, 4]))
    assert isinstance(error, UnitFailedError)
    assert "a poisonous unit" in str(error)
    assert "in poison" in str(error), "the traceback of the worker is lost"
    job = bench.service.jobs()[-1]
    # It may be done before it hears of its end.
    wait_until(lambda: job not in bench.service.jobs(running=True), timeout=60)
    assert job.current_state.name in ("JOB_STATE_CANCELLED", "JOB_STATE_DONE")
    assert bench.service.attempts(job) == 1, "a unit's own error was tried again"


def test_a_unit_that_always_ends_its_worker_is_named_as_the_reason(bench: Bench) -> None:
    error = failed(bench, bench.units("die", [1]))
    assert "ended its worker process" in error.message
    assert bench.service.attempts(bench.service.jobs()[-1]) == 4


def test_a_job_that_is_cancelled_in_the_console_ends_the_map(bench: Bench) -> None:
    with bench.read(bench.waiting()) as reading:
        assert reading.take() is not None
        bench.service.cancel(bench.job())
        with pytest.raises(RunError, match="somebody cancelled the job") as caught:
            reading.rest()
    assert caught.value.cause == "CANCELLED"
    assert bench.posted() == 1, "it was begun again"


def test_a_job_that_fails_in_the_service_says_what_the_service_says(bench: Bench) -> None:
    with bench.read(bench.waiting()) as reading:
        assert reading.take() is not None
        job = bench.job()
        bench.service.fail(job, "The zone went dark; PERMISSION_DENIED on the disks.")
        with pytest.raises(RunError, match="The zone went dark") as caught:
            reading.rest()
    assert caught.value.cause == "CONFIG"
    assert job.id in str(caught.value.where)


def test_a_machine_that_is_not_there_is_named(bench: Bench) -> None:
    bench.service.without.add("n2-standard-64")
    try:
        error = failed(bench, bench.units("square", [1]), machine_type="n2-standard-64")
    finally:
        bench.service.without.clear()
    assert error.cause == "UNSCHEDULABLE"
    assert "RESOURCE_POOL_EXHAUSTED" in error.message


def test_an_image_that_is_not_there_is_named(bench: Bench) -> None:
    image = "europe-docker.pkg.dev/my-project/images/none:1"
    error = failed(bench, bench.units("square", [1]), image=image)
    assert error.cause == "IMAGE"
    assert image in error.message


def test_a_quota_that_is_used_up_is_said_with_what_to_do(bench: Bench) -> None:
    bench.service.quota = 0
    try:
        error = bench.failure(bench.units("square", [1]))
    finally:
        bench.service.quota = 1000
    assert isinstance(error, BackendError)
    assert "quota raised" in str(error.remedy)


def test_a_bucket_that_is_not_there_is_named_before_anything_is_sent(bench: Bench) -> None:
    backend = bench.changed(staging_location="gs://no-such-bucket/staging")
    error = backend.failure(bench.units("square", [1]))
    assert isinstance(error, StoreError)
    assert error.message == "there is no bucket gs://no-such-bucket"
    assert "gcloud storage buckets create gs://no-such-bucket" in str(error.remedy)
    assert not bench.service.requests
    *_, folder, _ = backend.backend.check()
    assert (folder.ok, folder.detail) == (False, "there is no bucket gs://no-such-bucket")


# -- on the way ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "how"),
    [("status", {"status": 503}), ("refused", {}), ("lost", {}), ("duplicated", {})],
    ids=["503", "refused", "lost", "duplicated"],
)
def test_a_fault_while_a_job_is_made_makes_one_job(bench: Bench, fault: Any, how: Any) -> None:
    before = len(bench.service.jobs())
    rule = bench.proxy.inject(fault, method="POST", **how)
    assert bench.by_index(bench.units("square", range(5))) == [0, 1, 4, 9, 16]
    assert rule.hits == 1
    assert len(bench.service.jobs()) == before + 1


def test_a_service_that_is_away_for_a_minute_while_a_job_is_made_is_waited_for(
    bench: Bench,
) -> None:
    before = len(bench.service.jobs())
    rule = bench.proxy.inject("status", times=None)
    timer = threading.Timer(60, bench.proxy.rules.remove, [rule])
    timer.start()
    try:
        assert bench.by_index(bench.units("square", [7])) == [49]
    finally:
        timer.cancel()
    assert rule.hits
    assert len(bench.service.jobs()) == before + 1


@pytest.mark.parametrize("status", [401, 503])
def test_a_service_that_is_away_while_a_job_runs_is_waited_for(bench: Bench, status: int) -> None:
    with bench.read(bench.waiting()) as reading:
        assert reading.take() is not None
        rule = bench.proxy.inject("status", status=status, times=4)
        with ThreadPoolExecutor(1) as thread:
            rest = thread.submit(reading.rest)
            wait_until(lambda: rule.hits == 4, timeout=60)
            bench.go_on()
            assert len(rest.result()) == 2
    assert bench.posted() == 1


# -- at the client ---------------------------------------------------------------------------------


def test_closing_cancels_the_job_and_its_workers(bench: Bench) -> None:
    with bench.read(bench.waiting()) as reading:
        assert reading.take() is not None
        job = bench.job()
        reading.close()
    wait_until(lambda: job.current_state.name == "JOB_STATE_CANCELLED", timeout=60)
    assert not bench.service.has_worker(job)


def test_a_job_that_cannot_be_cancelled_is_named_with_what_to_do(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.proxy.inject("status", method="PUT", status=403, times=None)
    with bench.read(bench.waiting()) as reading:
        assert reading.take() is not None
        job = bench.job()
        reading.close()
    bench.service.cancel(job)
    assert f"gcloud dataflow jobs cancel {job.id}" in caplog.text


def test_a_job_outlives_its_client_and_the_next_one_finds_it(bench: Bench) -> None:
    units, context = bench.waiting(), bench.context()
    client = bench.client(units, context)
    bench.job()
    client.kill()
    client.communicate()
    with bench.read(units, context) as reading:
        bench.go_on()
        assert len(reading.rest()) == 3
    assert bench.posted() == 1, "a second job was made"


def test_a_job_of_the_same_units_is_made_while_another_one_is_being_cancelled(
    bench: Bench,
) -> None:
    units, context = bench.waiting(), bench.context()
    with bench.read(units, context) as reading:
        assert reading.take() is not None
        job = bench.job()
    wait_until(lambda: job not in bench.service.jobs(running=True), timeout=60)
    bench.go_on()
    ended, job.current_state = job.current_state, 10  # as long as Dataflow may take to end one
    try:
        assert len(bench.results(units, context)) == 3
    finally:
        job.current_state = ended
    names = {one.name for one in bench.service.jobs()}
    assert {job.name, f"{job.name}-2"} <= names


def test_pipelines_do_not_grow_with_their_units(bench: Bench, gcs_server: GCSServer) -> None:
    sizes = []
    for count in (10, 2000):
        wanted = [number * number for number in range(count)]
        assert bench.by_index(bench.units("square", range(count))) == wanted
        job = bench.service.jobs()[-1]
        options = dict(job.environment.sdk_pipeline_options["options"])
        bucket, _, key = options["pipelineUrl"].removeprefix("gs://").partition("/")
        place = f"{gcs_server.url}/storage/v1/b/{bucket}/o/{requests.utils.quote(key, safe='')}"
        sizes.append(len(requests.get(place, params={"alt": "media"}, timeout=10).content))
    # Numbers may have more digits.
    assert abs(sizes[0] - sizes[1]) < 100, "the pipeline of more units is larger"
    assert bench.posted() == 2


def test_packages_are_all_that_a_worker_of_googles_image_needs(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    packaged = bench.changed(image=None)
    assert packaged.by_index(packaged.units("square", range(4))) == [0, 1, 4, 9]
    assert not [one for one in caplog.records if one.name.startswith("apache_beam")]


def test_nothing_of_the_clients_secrets_is_sent_or_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (bench.project.folder / "shows.py").write_text(SHOWS_ITS_ENVIRONMENT)
    [found] = bench.by_index([Unit("shows:show", 1, secrets.token_hex(8))])
    assert found is False
    job = bench.service.jobs()[-1]
    assert "given:" in bench.service.log_of(job), "the unit printed nothing of what it sees"
    sent = "\n".join(" ".join(request) for request in bench.service.requests)
    headers = "\n".join(str(one.headers) for one in bench.proxy.requests)
    root = os.environ["STORAGE_EMULATOR_HOST"]
    bucket = bench.store.url.removeprefix("gs://").partition("/")[0]
    listed = requests.get(f"{root}/storage/v1/b/{bucket}/o", timeout=10).json()["items"]
    kept = b"".join(requests.get(one["mediaLink"], timeout=10).content for one in listed)
    assert any("pipeline.pb" in one["name"] for one in listed)
    for secret in SECRETS.values():
        assert secret not in sent
        assert secret not in headers
        assert secret not in bench.service.log_of(job)
        assert secret.encode() not in kept


def test_a_store_that_workers_do_not_see_is_refused_before_anything_is_sent(
    bench: Bench, tmp_path: Path
) -> None:
    there = MapBench(bench.backend, bench.project, (tmp_path / "here").as_uri(), 60.0)
    error = there.failure(there.units("square", [1]))
    assert isinstance(error, ConfigurationError)
    assert "artifact_store='gs://BUCKET/FOLDER'" in str(error)
    assert not bench.service.requests


def test_what_a_job_is_asked_for_is_what_the_backend_was_told(bench: Bench) -> None:
    told = bench.changed(
        machine_type="g2-standard-4",
        gpu_type="L4",
        num_workers=2,
        disk_size_gb=77,
        labels={"team": "ml"},
        network="default",
        use_public_ips=False,
        service_account="worker@my-project.iam.gserviceaccount.com",
        flexrs_goal="SPEED_OPTIMIZED",
    )
    assert told.by_index(told.units("square", [3])) == [9]
    job = bench.service.jobs()[-1]
    environment, pool = job.environment, job.environment.worker_pools[0]
    assert [*environment.service_options] == [
        "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"
    ]
    assert (pool.machine_type, pool.num_workers, pool.disk_size_gb) == ("g2-standard-4", 2, 77)
    assert pool.autoscaling_settings.max_num_workers == 4
    assert pool.network == "default"
    assert pool.ip_configuration.name == "WORKER_IP_PRIVATE"
    assert pool.worker_harness_container_image == IMAGE
    assert environment.service_account_email == "worker@my-project.iam.gserviceaccount.com"
    assert environment.flex_resource_scheduling_goal.name == "FLEXRS_SPEED_OPTIMIZED"
    assert job.labels["team"] == "ml"
    assert job.labels["zenml_step"].startswith("conformance")


# -- the stand-in itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nmae": "x"}, "nmae"),
        ({"name": "Größe"}, "name:"),
        ({"type": "JOB_TYPE_STREAMING"}, "batch"),
        ({"labels": {"Team": "x"}}, "Team"),
        ({"clientRequestId": ""}, "client_request_id"),
        ({"currentState": "JOB_STATE_DONE"}, "output-only"),
        ({"environment": {"workerPools": [{}, {}]}}, "worker_pools"),
        ({"environment": {"workerPools": [{"machineType": "n1 standard"}]}}, "machine_type"),
    ],
)
def test_a_body_that_google_would_not_take_is_refused(
    dataflow: DataflowServer, change: dict[str, Any], said: str
) -> None:
    url = f"{dataflow.url}/v1b3/projects/my-project/locations/europe-west1/jobs"
    body = {"name": "x", "type": "JOB_TYPE_BATCH", "clientRequestId": "1", **change}
    answer = requests.post(url, data=json.dumps(body), timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert said in answer.json()["error"]["message"]


def test_a_job_that_is_not_there_cannot_be_asked_for(dataflow: DataflowServer) -> None:
    url = f"{dataflow.url}/v1b3/projects/my-project/locations/europe-west1/jobs/1"
    assert requests.get(url, timeout=10).status_code == 404
