"""The machine that is asked for, and what is refused before anybody is asked."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import Any

import pytest
import yaml

from zenml.core import Job
from zenml.core.errors import BackendError, ConfigurationError
from zenml.gcp import OrchestratorGCPBackend
from zenml.gcp._instance import deletion_id, deletion_of, request_id


def a_job(**changes: Any) -> Job:
    told = {
        "name": "zenml-2026-1",
        "run": "20260102-run",
        "pipeline": "p",
        "step": None,
        "attempt": 1,
        "store": "gs://bucket",
        "folder": "runs/20260102-run/jobs/plan/1",
        "digest": "0" * 64,
    }
    return Job(**{**told, **changes})


def backend(**changes: Any) -> OrchestratorGCPBackend:
    return OrchestratorGCPBackend(**{"project": "my-project", "image": "r.example/z:1", **changes})


def instance(job: Job | None = None, **changes: Any) -> dict[str, Any]:
    rendered = backend(**changes).render(job or a_job())
    made: dict[str, Any] = rendered["instance"]
    return made


def script(job: Job | None = None, name: str = "startup-script", **changes: Any) -> str:
    items = instance(job, **changes)["metadata"]["items"]
    return str(next(item["value"] for item in items if item["key"] == name))


# -- parameters ----------------------------------------------------------------------------------


def test_the_parameters_of_the_original_have_their_defaults() -> None:
    found = OrchestratorGCPBackend(project="my-project")
    assert (found.machine_type, found.zone, found.disk_size) == (
        "e2-medium",
        "europe-west1-b",
        100,
    )
    assert (found.gpu, found.gpu_count, found.preemptible) == (None, 0, True)
    assert found.instance_name is found.image is found.source_disk_image is None
    assert found.service_account is None


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"project": "My Project"}, "project", "the id of a project"),
        ({"zone": "europe-west1"}, "zone", "a zone, such as"),
        ({"instance_name": "Zug_1"}, "instance_name", "lower-case"),
        ({"kms_key": "key"}, "kms_key", "cryptoKeys"),
        ({"source_disk_image": "debian"}, "source_disk_image", "family"),
        ({"labels": {"Team": "ml"}}, "labels.Team", "label"),
        ({"labels": {"zenml-run": "x"}}, "labels.zenml-run", "ours"),
        ({"tags": ("No_Tag",)}, "tags", "tag"),
        ({"environment": {"1A": "x"}}, "environment.1A", "variable"),
        ({"scopes": ()}, "scopes", "deletes itself"),
        ({"api_endpoint": "http://compute.example"}, "api_endpoint", "https://"),
        ({"cloudsql_connection_name": "p:r:i"}, "cloudsql_connection_name", "artifact store"),
        ({"gpu": "K80", "gpu_count": 1}, "gpu", "T4"),
        ({"gpu": "GTX", "gpu_count": 1}, "gpu", "V100"),
        ({"gpu_count": 1}, "gpu", "which kind"),
        ({"gpu": "T4", "machine_type": "n1-standard-4"}, "gpu_count", "1 or more"),
        ({"gpu": "T4", "gpu_count": 1}, "machine_type", "n1-"),
        ({"gpu": "L4", "gpu_count": 1, "machine_type": "n1-standard-4"}, "machine_type", "g2-"),
        ({"gpu": "L4", "gpu_count": 2, "machine_type": "g2-standard-8"}, "gpu_count", "has 1"),
        ({"gpu": "A100", "gpu_count": 1, "machine_type": "a2-highgpu-2g"}, "gpu_count", "has 2"),
    ],
)
def test_what_compute_engine_would_refuse_is_refused_before(
    change: Any, path: str, words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        backend(**change)
    [problem] = caught.value.problems
    assert problem.path == path
    assert words in str(problem)


def test_a_machine_that_could_find_no_image_is_not_asked_for() -> None:
    with pytest.raises(BackendError, match="which image") as caught:
        OrchestratorGCPBackend(project="my-project").submit(a_job())
    assert "zenml image build" in (caught.value.remedy or "")


def test_a_machine_that_could_not_see_the_store_is_not_asked_for() -> None:
    with pytest.raises(BackendError, match="cannot see a folder") as caught:
        backend().submit(a_job(store="file:///store"))
    assert "gs://" in (caught.value.remedy or "")


# -- the instance --------------------------------------------------------------------------------


def test_a_name_keeps_the_end_that_makes_it_unique() -> None:
    name = "zenml-" + "x" * 50 + "-unique"
    found = instance(a_job(name=name), instance_name="a-long-name-of-a-certain-team1")["name"]
    assert len(found) <= 63
    assert found.startswith("a-lon")
    assert found.endswith("-unique")


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(None, 120 * 86400), (60.5, 3661), (1e9, 120 * 86400)]
)
@pytest.mark.parametrize("preemptible", [True, False])
def test_no_machine_lives_for_ever(timeout: Any, seconds: int, preemptible: bool) -> None:
    found = instance(a_job(timeout=timeout), preemptible=preemptible)["scheduling"]
    assert found["maxRunDuration"] == {"seconds": str(seconds)}
    assert found["instanceTerminationAction"] == "DELETE"
    assert found["automaticRestart"] is False
    assert found["provisioningModel"] == ("SPOT" if preemptible else "STANDARD")
    assert found["onHostMaintenance"] == ("TERMINATE" if preemptible else "MIGRATE")


def test_a_gpu_is_attached_or_comes_with_the_machine() -> None:
    zone = "projects/my-project/zones/europe-west1-b"
    attached = instance(gpu="T4", gpu_count=2, machine_type="n1-standard-8", preemptible=False)
    assert attached["guestAccelerators"] == [
        {
            "acceleratorType": f"{zone}/acceleratorTypes/nvidia-tesla-t4",
            "acceleratorCount": 2,
        }
    ]
    assert attached["scheduling"]["onHostMaintenance"] == "TERMINATE"
    brought = {"gpu": "L4", "gpu_count": 1, "machine_type": "g2-standard-8"}
    assert "guestAccelerators" not in instance(**brought)
    for options in (brought, {"machine_type": "a2-highgpu-1g"}):
        assert "gpus=1" in script(**options)
    assert "gpus=0" in script()


def test_a_machine_is_in_the_network_that_was_asked_for() -> None:
    assert instance()["networkInterfaces"][0]["network"] == "global/networks/default"
    [found] = instance(subnetwork="ml", external_ip=False)["networkInterfaces"]
    assert found == {"subnetwork": "regions/europe-west1/subnetworks/ml"}
    shared = "projects/host/regions/europe-west1/subnetworks/ml"
    assert instance(subnetwork=shared)["networkInterfaces"][0]["subnetwork"] == shared


def test_what_else_was_asked_for_is_where_it_belongs() -> None:
    key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    found = instance(
        kms_key=key,
        tags=("ml",),
        labels={"team": "ml"},
        service_account="vm@my-project.iam.gserviceaccount.com",
        shielded_vm=False,
        source_disk_image="projects/p/global/images/i",
        disk_size=200,
        disk_type="pd-ssd",
    )
    [disk] = found["disks"]
    assert disk["diskEncryptionKey"] == {"kmsKeyName": key}
    assert disk["autoDelete"] is disk["boot"] is True
    assert disk["initializeParams"] == {
        "sourceImage": "projects/p/global/images/i",
        "diskSizeGb": "200",
        "diskType": "zones/europe-west1-b/diskTypes/pd-ssd",
    }
    assert found["tags"] == {"items": ["ml"]}
    assert found["labels"] == {"team": "ml", "zenml-run": "20260102-run", "zenml-attempt": "1"}
    assert found["serviceAccounts"][0]["email"] == "vm@my-project.iam.gserviceaccount.com"
    assert "shieldedInstanceConfig" not in found


# -- scripts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["startup-script", "shutdown-script"])
def test_scripts_are_good_bash_whatever_the_user_writes(name: str) -> None:
    text = script(
        name=name, image="it's $(touch x)", environment={"A": "'\n$HOME `id`"}, python="py thon"
    )
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_user_writes_stays_as_it_is() -> None:
    odd = "'\n$HOME `id` \\ ü"
    text = script(environment={"ODD": odd}).partition("\nset -u\n")[0]
    shown = subprocess.run(
        ["bash", "-c", text + '\nprintf "%s\\0" "${options[@]}" "${command[@]}"'],
        capture_output=True,
        check=True,
    )
    words = shown.stdout.decode().split("\0")[:-1]
    assert words == ["--env", "HOME=/tmp", "--env", f"ODD={odd}", *a_job().command()]


def test_requests_are_the_same_wherever_they_are_made() -> None:
    job = a_job()
    assert backend().render(job)["requestId"] == backend().render(job)["requestId"]
    others = [a_job(name="zenml-2026-2"), a_job(digest="1" * 64)]
    ids = {backend().render(one)["requestId"] for one in [job, *others]}
    assert len(ids) == 3
    assert {uuid.UUID(one).version for one in ids} == {5}


def test_a_request_that_deletes_a_machine_is_known_for_ours() -> None:
    first, second = (deletion_id("j", "d", "cancel") for _ in range(2))
    assert first != second
    assert deletion_of(first, "j", "d") == deletion_of(second, "j", "d") == "cancel"
    assert deletion_of(deletion_id("j", "d", "cleanup"), "j", "d") == "cleanup"
    assert deletion_of(request_id("j", "d", "IMAGE"), "j", "d") == "own"
    for other in (deletion_id("other", "d", "cancel"), str(uuid.uuid4()), ""):
        assert deletion_of(other, "j", "d") is None


def test_a_secret_of_the_client_is_in_no_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "the secret itself")
    assert "the secret itself" not in json.dumps(backend().render(a_job()))


# -- rights --------------------------------------------------------------------------------------


def test_the_role_is_one_that_gcloud_reads_and_no_more_than_is_needed() -> None:
    text = backend(service_account="vm@p.iam.gserviceaccount.com", external_ip=False).permissions()
    role = yaml.safe_load(text)
    assert set(role) == {"title", "description", "stage", "includedPermissions"}
    allowed = set(role["includedPermissions"])
    assert {"compute.instances.create", "compute.zoneOperations.list"} <= allowed
    assert "compute.subnetworks.useExternalIp" not in allowed
    assert not any("iam." in one or "*" in one or "setIam" in one for one in allowed)
    assert "vm@p.iam.gserviceaccount.com" in text
    assert "roles/iam.serviceAccountUser" in text
    more = set(yaml.safe_load(backend(tags=("a",)).permissions())["includedPermissions"])
    assert more - allowed == {"compute.instances.setTags", "compute.subnetworks.useExternalIp"}
