"""Parameters: what is refused before anything is sent, all of it at once, with what to do."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from zenml.core.errors import ConfigurationError
from zenml.dataflow import ProcessingDataFlowBackend
from zenml.dataflow._map import job_name_of, size_of
from zenml.dataflow._options import GPUS


def made(**parameters: Any) -> ProcessingDataFlowBackend:
    return ProcessingDataFlowBackend(**{"project": "my-project", **parameters})


def refused(**parameters: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        made(**parameters)
    return str(caught.value)


def test_the_originals_parameters_have_their_defaults() -> None:
    backend = made()
    assert (backend.region, backend.machine_type) == ("europe-west1", "n1-standard-4")
    assert (backend.num_workers, backend.max_num_workers, backend.disk_size_gb) == (4, 10, 50)
    assert backend.autoscaling_algorithm == "THROUGHPUT_BASED"


def test_nothing_of_beam_is_imported_before_a_map() -> None:
    code = (
        "import sys; from zenml.dataflow import ProcessingDataFlowBackend; "
        "ProcessingDataFlowBackend(project='my-project').permissions(); "
        "assert not {'apache_beam', 'google.api_core', 'grpc'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("project", "12"),
        ("staging_location", "/staging"),
        ("temp_location", "gs://B/x"),
        ("region", "europe"),
        ("job_name", "My job"),
        ("image", "an image"),
        ("machine_type", "large"),
        ("num_workers", 0),
        ("max_num_workers", 3),
        ("autoscaling_algorithm", "FAST"),
        ("disk_size_gb", 10),
        ("gpu_type", "K80"),
        ("subnetwork", "default"),
        ("subnetwork", "regions/us-central1/subnetworks/default"),
        ("kms_key_name", "projects/p/locations/us/keyRings/r/cryptoKeys/k"),
        ("service_account", "me"),
        ("api_endpoint", "http://10.0.0.1"),
        ("labels", {"Team": "ml"}),
        ("labels", {"zenml_step": "mine"}),
    ],
)
def test_a_wrong_parameter_is_named(parameter: str, value: Any) -> None:
    assert parameter in refused(**{parameter: value})


def test_all_problems_are_said_at_once() -> None:
    said = refused(project="12", region="europe", machine_type="large")
    assert all(name in said for name in ("project", "region", "machine_type"))


@pytest.mark.parametrize("gpu", GPUS)
def test_a_gpu_needs_a_machine_that_can_have_it(gpu: str) -> None:
    made(gpu_type=gpu, machine_type=f"{GPUS[gpu].family}4")
    other = "n1-standard-4" if not GPUS[gpu].family.startswith("n1") else "g2-standard-4"
    assert f"'{GPUS[gpu].family}…'" in refused(gpu_type=gpu, machine_type=other)


def test_requirements_are_for_packages() -> None:
    assert "requirements" in refused(requirements=["x"], image="docker.io/me/image:1")


def test_units_are_divided_by_how_many_are_executed_at_once() -> None:
    backend = made(max_num_workers=10, machine_type="n1-standard-4")
    assert size_of(backend, 7) == 1
    assert size_of(backend, 320) == 1
    assert size_of(backend, 100_000) == 313
    assert size_of(made(units_per_task=5), 100_000) == 5
    # Workers of a thousand machines are not asked for a million tasks.
    assert size_of(made(max_num_workers=4000), 1_000_000) == 250
    assert size_of(made(machine_type="n2-custom-6-3072", max_num_workers=4), 192) == 1


def test_jobs_have_names_that_dataflow_takes_and_that_say_what_they_do() -> None:
    names = {
        job_name_of(backend, step, digest)
        for backend in (made(), made(machine_type="n1-standard-8"), made(job_name="a" * 22))
        for step in ("split", "Größe und 尺寸!" * 30, "尺寸")
        for digest in ("1" * 64, "2" * 64)
    }
    assert len(names) == 18, "two jobs share a name"
    for name in names:
        assert len(name) <= 59
        assert name.replace("-", "").isalnum()
        assert name.isascii()
    assert job_name_of(made(), "split", "1" * 64).startswith("zenml-split-")
    assert job_name_of(made(), "split", "1" * 64) == job_name_of(made(), "split", "1" * 64)


def test_the_roles_are_the_least_that_is_needed() -> None:
    backend = made(
        staging_location="gs://my-bucket/staging",
        service_account="worker@my-project.iam.gserviceaccount.com",
        image="docker.io/me/image:1",
    )
    said = backend.permissions()
    roles = {line.rpartition("--role=")[2] for line in said.splitlines() if "--role=" in line}
    assert roles == {
        "roles/artifactregistry.reader",
        "roles/dataflow.developer",
        "roles/dataflow.worker",
        "roles/iam.serviceAccountUser",
        "roles/storage.legacyBucketReader",
        "roles/storage.objectUser",
    }
    assert "serviceAccount:worker@my-project.iam.gserviceaccount.com" in said
    assert "gs://my-bucket \\" in said
