"""Packages for Google's prebuilt images: found by their content, installed in their order."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from zenml.core import open_store
from zenml.core.errors import ConfigurationError
from zenml.gcaip import _packages
from zenml.gcaip._packages import folder_of, packages_for, stage


@pytest.fixture
def packaged(backend: Any) -> Any:
    return backend.replace(image=None)


def test_a_job_is_told_of_its_packages(packaged, job):
    spec = packaged.render(job)
    [pool] = spec["jobSpec"]["workerPoolSpecs"]
    assert "containerSpec" not in pool
    package = pool["pythonPackageSpec"]
    assert package["executorImageUri"].startswith("europe-docker.pkg.dev/vertex-ai/training/")
    assert [package["pythonModule"], *package["args"]] == list(job.command()[2:])
    names = [uri.rpartition("/")[2] for uri in package["packageUris"]]
    assert any(name.startswith("zenml_gcp-") for name in names), "the store's plugin is not there"
    core = next(place for place, name in enumerate(names) if name.startswith("zenml_core-"))
    assert core < next(place for place, name in enumerate(names) if name.startswith("zenml_gcp-"))
    assert packaged.render(job) == spec


def test_what_an_index_has_is_named_by_a_wheel_without_modules(packaged, job):
    given = replace(job, requires={"acme-public": "2.5"})
    found = packages_for(packaged.replace(requirements=["acme[gpu]>=1"]), given)
    # First, so that nothing newer is fetched for those that follow.
    key, data = found[0]
    assert key.rpartition("/")[2].startswith("zenml_job_requirements-0.")
    with zipfile.ZipFile(BytesIO(data)) as wheel:
        [metadata] = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        text = wheel.read(metadata).decode()
    assert "Requires-Dist: acme-public==2.5" in text
    assert "Requires-Dist: acme[gpu]>=1" in text


def test_that_wheel_can_be_installed(tmp_path):
    name, data = _packages._needing(["zenml-core"])
    wheel = tmp_path / name
    wheel.write_bytes(data)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, "--target", str(tmp_path / "there"), str(wheel)], check=True)
    assert list((tmp_path / "there").glob("zenml_job_requirements-*.dist-info"))


@pytest.mark.parametrize(
    ("name", "version", "instead"),
    [
        ("tensorflow-cpu", "2.17.0", "pip install tensorflow==2.17.0"),
        ("torch", "2.9.0+cpu", "pip install torch==2.9.0"),
    ],
)
def test_what_was_built_without_gpu_is_refused(packaged, job, name, version, instead):
    with pytest.raises(ConfigurationError, match="without GPU") as caught:
        packaged.render(replace(job, requires={name: version}))
    assert instead in str(caught.value)


def test_a_package_is_staged_once(backend, tmp_path, monkeypatch):
    folder = tmp_path / "store"
    store = open_store(folder.as_uri())
    store.prepare()
    monkeypatch.setattr(_packages, "open_store", lambda _: store)
    packages = (("packages/aa/one-1-py3-none-any.whl", b"one"),)
    stage(backend, packages)
    written = Path(folder / packages[0][0])
    written.write_bytes(b"as it is")
    stage(backend, packages)
    assert written.read_bytes() == b"as it is"


def test_packages_are_staged_with_the_jobs_key_and_as_the_same_account(backend):
    key = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"
    account = "me@my-project.iam.gserviceaccount.com"
    assert folder_of(backend) == "gs://my-bucket/jobs"
    given = backend.replace(kms_key_name=key, impersonate_service_account=account)
    store = open_store(folder_of(given))
    assert f"kms_key_name={key}" in store.url
    assert f"impersonate_service_account={account}" in store.url
