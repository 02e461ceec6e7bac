"""What a job on Dataflow can be told: where it runs, on what machines, with what software."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta

from zenml.core import Check, Settings
from zenml.core.errors import Problem

__all__ = ["GPUS", "DataflowOptions"]

_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+")
_FOLDER = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?")
_MACHINE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_ACCOUNT = re.compile(r"[\w.-]+@[\w.-]+")
_KMS_KEY = re.compile(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
_SUBNETWORK = re.compile(
    r"(https://www\.googleapis\.com/compute/v1/projects/[\w.:-]+/)?"
    r"regions/([a-z0-9-]+)/subnetworks/[a-z]([-a-z0-9]*[a-z0-9])?"
)
_IMAGE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")
_ENDPOINT = re.compile(r"https://[\w.-]+(:\d+)?|http://localhost(:\d+)?")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


class Gpu(NamedTuple):
    """A kind of GPU.

    Attributes:
        accelerator: What Dataflow calls it.
        family: What the types of machines that it goes with begin with.
    """

    accelerator: str
    family: str


#: By the names that people use.
GPUS: Final = {
    "A100": Gpu("nvidia-tesla-a100", "a2-highgpu-"),
    "A100_80GB": Gpu("nvidia-a100-80gb", "a2-ultragpu-"),
    "L4": Gpu("nvidia-l4", "g2-standard-"),
    "P100": Gpu("nvidia-tesla-p100", "n1-"),
    "P4": Gpu("nvidia-tesla-p4", "n1-"),
    "T4": Gpu("nvidia-tesla-t4", "n1-"),
    "V100": Gpu("nvidia-tesla-v100", "n1-"),
}


class DataflowOptions(Settings):
    """Where a step's units are executed, and by what.

    Args:
        project: The project that jobs are in, and that pays for them.
        staging_location: Folder in Cloud Storage, ``gs://BUCKET/FOLDER``, that pipelines and
            packages are staged in; by default ``dataflow`` in the bucket of the artifact store.
        temp_location: Folder for what Dataflow itself leaves for a while; by default that one.
        region: Where the workers are.
        job_name: What jobs are called in the console, before what makes their names unique.
        image: An image of workers that holds Beam, zenml-dataflow and what the units need. Without
            one, these are staged as packages, and installed on each worker.
        machine_type: The workers' machines.
        num_workers: How many there are at first.
        max_num_workers: How many there may be.
        autoscaling_algorithm: ``THROUGHPUT_BASED`` or ``NONE``: always ``num_workers``.
        disk_size_gb: Each worker's disk.
        gpu_type: A GPU for each worker: T4, L4, P4, P100, V100, A100, A100_80GB.
        gpu_count: How many of them each worker has.
        threads: How many units a processor of a worker is given at once. Each has the memory of a
            worker divided by all of them.
        units_per_task: How many units are one task, one after the other. By default so many that
            each place has eight tasks, if there are enough units for that.
        flexrs_goal: ``COST_OPTIMIZED`` takes cheaper machines, and may wait for hours until it
            begins; ``SPEED_OPTIMIZED`` does not.
        requirements: What pip installs beside what the units need, where packages are staged.
        labels: Further labels of jobs and of their machines.
        service_account: Whose rights workers have; by default those of Compute Engine's account.
        network: VPC network of the workers, by name.
        subnetwork: ``regions/REGION/subnetworks/NAME``, or its URL if it is another project's.
        use_public_ips: Whether workers have addresses outside of their network; without them, what
            an index has cannot be installed.
        kms_key_name: Key of Cloud KMS that what the job keeps is encrypted with.
        timeout: Seconds after which a map is given up, what it waits for workers included.
        pending_timeout: Seconds that a job may wait until it begins.
        impersonate_service_account: Submit as this account, which yours may make tokens for.
        api_endpoint: Where Dataflow is, if not at ``https://dataflow.googleapis.com``. Plain HTTP
            is an emulator's: it is told no secret.
    """

    project: str
    staging_location: str | None = None
    temp_location: str | None = None
    region: str = "europe-west1"
    job_name: str = "zenml"
    image: str | None = None
    machine_type: str = "n1-standard-4"
    num_workers: Annotated[int, Meta(ge=1)] = 4
    max_num_workers: Annotated[int, Meta(ge=1, le=4000)] = 10
    autoscaling_algorithm: Literal["THROUGHPUT_BASED", "NONE"] = "THROUGHPUT_BASED"
    disk_size_gb: Annotated[int, Meta(ge=30, le=64000)] = 50
    gpu_type: str | None = None
    gpu_count: Annotated[int, Meta(ge=1, le=16)] = 1
    threads: Annotated[int, Meta(ge=1)] = 1
    units_per_task: Annotated[int, Meta(ge=1)] | None = None
    flexrs_goal: Literal["COST_OPTIMIZED", "SPEED_OPTIMIZED"] | None = None
    requirements: list[str] = []  # noqa: RUF012 - copied for each backend
    labels: dict[str, str] = {}  # noqa: RUF012
    service_account: str | None = None
    network: str | None = None
    subnetwork: str | None = None
    use_public_ips: bool = True
    kms_key_name: str | None = None
    timeout: Annotated[float, Meta(ge=1)] | None = None
    pending_timeout: Annotated[float, Meta(gt=0)] = 1800.0
    impersonate_service_account: str | None = None
    api_endpoint: str | None = None

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """What Dataflow would refuse once the job was sent."""
        yield from super().validate()
        yield from self._wrong_names()
        yield from self._wrong_machines()
        if self.requirements and self.image is not None:
            message = "are installed where packages are staged, and image= holds them"
            yield Problem("requirements", message, "leave out one of the two")

    def check(self) -> list[Check]:
        """Look whether Dataflow could be used now. See ``Backend.check``."""
        from zenml.dataflow._check import check

        return check(self)

    def permissions(self) -> str:
        """The roles that whoever uses the backend needs. See ``Backend.permissions``."""
        from zenml.dataflow._rights import roles

        return roles(self)

    def _wrong_names(self) -> Iterator[Problem]:
        folder = "a folder in Cloud Storage, such as 'gs://bucket/folder'"
        account = "the address of a service account"
        forms = (
            ("project", _PROJECT, "the ID of a project, such as 'my-project'"),
            ("staging_location", _FOLDER, folder),
            ("temp_location", _FOLDER, folder),
            ("region", _REGION, "a region, such as 'europe-west1'"),
            ("job_name", _NAME, "up to 22 lower-case letters, digits and dashes"),
            (
                "image",
                _IMAGE,
                "an image with its registry, such as 'europe-docker.pkg.dev/p/r/i:1'",
            ),
            ("service_account", _ACCOUNT, account),
            ("impersonate_service_account", _ACCOUNT, account),
            ("subnetwork", _SUBNETWORK, "'regions/REGION/subnetworks/NAME' or its URL"),
            ("kms_key_name", _KMS_KEY, "'projects/…/locations/…/keyRings/…/cryptoKeys/…'"),
            ("api_endpoint", _ENDPOINT, "an https URL without a path, or 'http://localhost:PORT'"),
        )
        for name, form, meant in forms:
            value = getattr(self, name)
            if value is not None and not form.fullmatch(value):
                yield Problem(name, f"expected {meant}, found '{value}'")
        for name, form, group in (("kms_key_name", _KMS_KEY, 1), ("subnetwork", _SUBNETWORK, 2)):
            found = form.fullmatch(getattr(self, name) or "")
            if found and found[group] not in (self.region, "global"):
                message = f"is in '{found[group]}', and the workers are in '{self.region}'"
                yield Problem(name, message, f"one in '{self.region}'")
        for name, value in self.labels.items():
            if not _LABEL_KEY.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
                letters = "lower-case letters, digits, '_' and '-', at most 63"
                yield Problem(f"labels.{name}", f"expected {letters}, found '{value}'")
            elif name.startswith("zenml_"):
                yield Problem(f"labels.{name}", "is one of ours: it says what a job is for")

    def _wrong_machines(self) -> Iterator[Problem]:
        if not _MACHINE.fullmatch(self.machine_type):
            message = f"expected a type of machine, found '{self.machine_type}'"
            yield Problem("machine_type", message, "such as 'n1-standard-4'")
        if self.max_num_workers < self.num_workers:
            message = f"is less than num_workers={self.num_workers}"
            yield Problem("max_num_workers", message, "at least as many, or fewer at first")
        if self.gpu_type is None:
            return
        gpu = GPUS.get(self.gpu_type)
        if gpu is None:
            yield Problem("gpu_type", f"expected {', '.join(GPUS)}, found '{self.gpu_type}'")
        elif not self.machine_type.startswith(gpu.family):
            message = f"'{self.machine_type}' cannot have a {self.gpu_type}"
            yield Problem("machine_type", message, f"a machine of '{gpu.family}…'")
