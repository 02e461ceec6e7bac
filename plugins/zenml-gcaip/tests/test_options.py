"""Parameters: what is refused before anything is sent, all of it at once, with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from zenml.core.errors import ConfigurationError
from zenml.gcaip import SingleGPUTrainingGCAIPBackend
from zenml.gcaip._machines import GPUS

GIVEN = {"project": "my-project", "job_dir": "gs://my-bucket/jobs"}


def refused(**parameters: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        SingleGPUTrainingGCAIPBackend(**{**GIVEN, **parameters})
    return str(caught.value)


def test_a_project_and_a_folder_are_enough():
    backend = SingleGPUTrainingGCAIPBackend(**GIVEN)
    assert (backend.gpu_type, backend.machine_type) == ("T4", "n1-standard-4")
    assert (backend.region, backend.max_running_time) == ("europe-west1", 7200)


def test_a_k80_is_refused_and_its_replacement_named():
    said = refused(gpu_type="K80")
    assert "K80" in said
    assert "gpu_type='T4'" in said


@pytest.mark.parametrize("gpu", GPUS)
def test_every_gpu_has_machines_that_it_goes_with(gpu):
    for machine in GPUS[gpu].machines:
        strategy = "STANDARD" if GPUS[gpu].on_demand else "SPOT"
        SingleGPUTrainingGCAIPBackend(
            **GIVEN, gpu_type=gpu, machine_type=machine, strategy=strategy
        )


@pytest.mark.parametrize(
    ("gpu", "machine", "remedy"),
    [
        ("L4", "n1-standard-4", "g2-standard-8"),
        ("T4", "g2-standard-4", "a GPU for this one: L4"),
        ("V100", "n1-standard-16", "n1-standard-8"),
        ("A100", "a2-ultragpu-1g", "A100_80GB"),
        ("T4", "e2-medium", "n1-standard-4"),
        ("T5", "n1-standard-4", "T4"),
    ],
)
def test_a_gpu_that_does_not_go_with_a_machine_is_refused(gpu, machine, remedy):
    assert remedy in refused(gpu_type=gpu, machine_type=machine)


def test_a_machine_that_cannot_be_had_at_any_time_needs_a_strategy():
    said = refused(gpu_type="H100", machine_type="a3-highgpu-1g")
    assert "SPOT" in said
    assert "FLEX_START" in said


def test_all_that_is_wrong_is_said_at_once():
    said = refused(
        project="P",
        job_dir="/data/jobs",
        gpu_type="K80",
        region="europe",
        max_wait=60,
        python_version="3.7",
        labels={"Team": "x", "zenml_job": "mine"},
        environment={"AIP_MODEL_DIR": "x", "1": "y"},
        service_account="me",
        network="default",
        api_endpoint="localhost:80",
    )
    for name in (
        *("project", "job_dir", "gpu_type", "region", "max_wait", "python_version"),
        *("labels.Team", "labels.zenml_job", "environment.AIP_MODEL_DIR", "environment.1"),
        *("service_account", "network", "api_endpoint"),
    ):
        assert f"{name}: " in said


def test_waiting_is_for_a_strategy_that_waits_and_no_longer_than_we_do():
    assert "FLEX_START" in refused(max_wait=60)
    assert "pending_timeout=7200" in refused(strategy="FLEX_START", max_wait=7200)
    SingleGPUTrainingGCAIPBackend(
        **GIVEN, strategy="FLEX_START", max_wait=7200, pending_timeout=7200.0
    )


def test_software_is_an_image_or_packages():
    prebuilt = "europe-docker.pkg.dev/vertex-ai/training/pytorch-gpu.2-4.py310:latest"
    SingleGPUTrainingGCAIPBackend(**GIVEN, executor_image_uri=prebuilt)
    assert "give one of the two" in refused(image="i", executor_image_uri=prebuilt)
    assert "one of your own is image=" in refused(executor_image_uri="docker.io/me/mine:1")
    assert "prebuilt image decides" in refused(python_version="3.11")
    assert "put them into the image" in refused(image="i", requirements=["polars"])


def test_a_key_has_to_be_where_the_job_is():
    key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
    assert "a key in 'europe-west1'" in refused(kms_key_name=key)
