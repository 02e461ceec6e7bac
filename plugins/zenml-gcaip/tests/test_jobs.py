"""Jobs: made once, found again, ended; and what a refusal says to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from google.cloud.aiplatform_v1.types import CustomJob
from google.protobuf import json_format

from zenml.core import Handle, Job
from zenml.core.errors import BackendError, ConfigurationError

PARENT = "/v1/projects/my-project/locations/europe-west1/customJobs"
NAME = "projects/123/locations/europe-west1/customJobs/{}"


def message_of(spec: Any) -> Any:
    return json_format.ParseDict(spec, CustomJob.pb(CustomJob()))


def known(number: int, seconds: int = 0, state: int = 3) -> dict[str, Any]:
    created = f"2026-01-02T03:04:{seconds:02d}Z"
    return {"name": NAME.format(number), "createTime": created, "state": state}


def answering(server: Any, listed: list[list[Any]], created: Any) -> Callable[[Any], Any]:
    """Answers each listing with the next of these, and a creation with that."""
    left = [*listed]

    def answer(asked: Any) -> Any:
        if asked.method == "GET":
            return {"customJobs": left.pop(0) if len(left) > 1 else left[0]}
        return created if asked.path == PARENT else {}

    server.answer = answer
    return answer


def test_what_is_sent_is_what_is_rendered(backend, server, job):
    answering(server, [[]], known(7))
    handle = backend.submit(job)
    assert handle == Handle(job=job.name, data={"name": NAME.format(7)})
    [created] = server.asked("POST")
    assert created.path == PARENT
    assert message_of(created.body) == message_of(backend.render(job))


def test_a_job_is_looked_for_by_its_label_first(backend, server, job):
    answering(server, [[known(7)]], None)
    assert backend.submit(job).data == {"name": NAME.format(7)}
    assert not server.asked("POST")
    [asked] = server.asked("GET")
    assert asked.query["filter"] == f'labels.zenml_job="{job.name}"'


def test_of_two_that_were_made_at_once_the_older_counts_and_the_other_ends(backend, server, job):
    answering(server, [[], [known(8, 2), known(7, 1)]], known(8, 2))
    assert backend.submit(job).data == {"name": NAME.format(7)}
    _, cancelled = server.asked("POST")
    assert cancelled.path == f"/v1/{NAME.format(8)}:cancel"


def test_a_store_on_this_machine_is_refused_before_anything_is_sent(backend, server, job):
    given = Job(
        **{name: getattr(job, name) for name in job.__struct_fields__ if name != "store"},
        store="file:///store",
    )
    with pytest.raises(ConfigurationError, match="gs://BUCKET"):
        backend.submit(given)
    assert not server.requests


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (400, "Machine type is not supported in region europe-west1", "region="),
        (400, "something is wrong", "correct the backend's parameters"),
        (401, "credentials", "gcloud auth application-default login"),
        (403, "Permission 'aiplatform.customJobs.create' denied", "zenml backend permissions"),
        (403, "Vertex AI API has not been used in project", "services enable aiplatform"),
        (404, "project not found", "check project="),
        (
            429,
            "The following quota metrics exceed quota limits: custom_model_training_t4",
            "quota raised",
        ),
    ],
)
def test_a_refusal_says_what_to_do(backend, server, job, status, message, remedy):
    server.answer = lambda _: (status, {"error": {"code": status, "message": message}})
    with pytest.raises(BackendError) as caught:
        backend.submit(job)
    assert message in str(caught.value)
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_for_the_core_to_try_again(backend, server, job, status):
    server.answer = lambda _: (status, {"error": {"code": status, "message": "later"}})
    for call in (lambda: backend.submit(job), lambda: backend.poll(handle())):
        with pytest.raises((ConnectionError, TimeoutError)):
            call()


def test_nobody_there_may_pass(backend, server, job):
    with pytest.raises(ConnectionError):
        backend.replace(api_endpoint="http://127.0.0.1:1").submit(job)


def test_credentials_that_run_out_while_a_job_runs_do_not_give_it_up(backend, server):
    server.answer = lambda _: (401, {"error": {"code": 401, "message": "expired"}})
    with pytest.raises(ConnectionError, match="log in again"):
        backend.poll(handle())


def handle() -> Handle:
    return Handle(job="zenml-1", data={"name": NAME.format(7)})


def test_a_job_that_is_not_there_is_gone(backend, server):
    assert backend.poll(handle()).phase == "gone"
    backend.cancel(handle(), 0.0)
    assert not backend.logs(handle()).lines
    assert not server.asked("POST")


def test_cancelling_what_ends_at_that_moment_is_no_error(backend, server):
    states = iter([3, 4])

    def answer(asked: Any) -> Any:
        if asked.method == "POST":
            return 400, {"error": {"code": 400, "message": "it has ended"}}
        return known(7, state=next(states))

    server.answer = answer
    backend.cancel(handle(), 0.0)


def test_tidying_up_deletes_every_job_of_the_name(backend, server):
    def answer(asked: Any) -> Any:
        return {"customJobs": [known(7), known(8)]} if asked.method == "GET" else {"done": True}

    server.answer = answer
    backend.cleanup(handle())
    assert [one.path for one in server.asked("DELETE")] == [f"/v1/{NAME.format(n)}" for n in (7, 8)]


def test_nothing_is_imported_until_something_is_asked():
    code = (
        "import sys; from zenml.gcaip import SingleGPUTrainingGCAIPBackend as Backend\n"
        "made = Backend(project='my-project', job_dir='gs://my-bucket/jobs', image='i')\n"
        "made.permissions()\n"
        "heavy = {'google.api_core', 'google.auth', 'google.protobuf', 'grpc', 'requests'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_permissions_are_a_role_and_its_bindings(backend):
    account = "trainer@my-project.iam.gserviceaccount.com"
    text = backend.replace(service_account=account).permissions()
    role = yaml.safe_load(text)
    assert "aiplatform.customJobs.create" in role["includedPermissions"]
    assert "gs://my-bucket" in text
    assert f"serviceAccount:{account}" in text
    assert "iam.serviceAccountUser" in text
