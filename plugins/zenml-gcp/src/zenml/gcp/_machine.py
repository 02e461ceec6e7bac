"""What a virtual machine is like: the parameters, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final

from msgspec import Meta

from zenml.core import Check, Settings
from zenml.core.errors import Problem
from zenml.gcp import _gpus

__all__ = ["API", "LONGEST", "MachineOptions"]

#: The public endpoint of the API.
API: Final = "https://compute.googleapis.com"

#: Seconds that Compute Engine lets a machine run at most, if its time is limited: 120 days.
LONGEST: Final = 120 * 86400

_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_ZONE = re.compile(r"[a-z]+(-[a-z]+)+\d+-[a-z][a-z0-9]*")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,28}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_TAG = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+(/.+)?")
_DISK_IMAGE = re.compile(r"(https://.+/)?(projects/[^/]+/)?global/(images|machineImages)/.+")


class MachineOptions(Settings):
    """What the machine is like.

    Args:
        project: The project that pays for it.
        machine_type: Its processors and memory.
        gpu: Kind of its GPUs: ``T4``, ``L4``, ``A100``, … or what Compute Engine calls it.
        gpu_count: How many there are.
        zone: Where it is.
        instance_name: What the names of machines begin with; each attempt has a name of its own.
        disk_size: Gigabytes of its disk.
        disk_type: Kind of its disk.
        image: The container image that it runs, in a registry: one that holds zenml-core, zenml-gcp
            and what the steps need, such as ``zenml image build`` makes.
        source_disk_image: What it boots from; by default Container-Optimized OS. Another one needs
            docker, and a driver if there is a GPU.
        preemptible: Whether it is a Spot machine, which costs a fraction, and which Compute Engine
            may take away.
        service_account: Whose rights it has; by default those of the project's default account.
        scopes: Which of these it may use.
        network: The network that it is in.
        subnetwork: The subnetwork, by its name or ``projects/…``.
        external_ip: Whether it has an address on the internet. Without one, the subnetwork has to
            have Private Google Access.
        labels: Further labels.
        tags: Network tags, which firewall rules go by.
        kms_key: The key that its disk is encrypted with, ``projects/…/cryptoKeys/…``.
        shielded_vm: Whether it boots nothing but what is signed.
        environment: Environment variables of the container; no secrets.
        python: The interpreter in the image.
        linger: Seconds that it stays when its work has ended, for its log to be read, unless
            somebody removes it before.
        impersonate_service_account: Start machines as this account.
        api_endpoint: Where the API is; by default the public endpoint.
        cloudsql_connection_name: Of no use any more.
    """

    project: str
    machine_type: str = "e2-medium"
    gpu: str | None = None
    gpu_count: Annotated[int, Meta(ge=0)] = 0
    zone: str = "europe-west1-b"
    instance_name: str | None = None
    disk_size: Annotated[int, Meta(ge=10, le=65536)] = 100
    disk_type: str = "pd-balanced"
    image: str | None = None
    source_disk_image: str | None = None
    preemptible: bool = True
    service_account: str | None = None
    scopes: tuple[str, ...] = ("https://www.googleapis.com/auth/cloud-platform",)
    network: str | None = None
    subnetwork: str | None = None
    external_ip: bool = True
    labels: dict[str, str] = {}  # noqa: RUF012 - copied for each backend
    tags: tuple[str, ...] = ()
    kms_key: str | None = None
    shielded_vm: bool = True
    environment: dict[str, str] = {}  # noqa: RUF012
    python: str = "python"
    linger: Annotated[int, Meta(ge=0, le=3600)] = 60
    impersonate_service_account: str | None = None
    api_endpoint: str | None = None
    cloudsql_connection_name: str | None = None

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """What Compute Engine would refuse, and what would hide a machine from us."""
        yield from super().validate()
        if self.cloudsql_connection_name is not None:
            yield Problem(
                "cloudsql_connection_name",
                "there is no metadata store any more that would need Cloud SQL",
                "leave it out: runs are recorded in the artifact store, such as gs://BUCKET",
            )
        yield from self._wrong_names()
        yield from _gpus.problems(self.gpu, self.gpu_count, self.machine_type)
        for key, value in self.labels.items():
            if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
                yield f"labels.{key}", f"is not a label that Google Cloud takes: '{value}'"
            if key.startswith("zenml-"):
                yield f"labels.{key}", "is one of ours: machines are found by it"
        for key in self.environment:
            if not _VARIABLE.fullmatch(key):
                yield f"environment.{key}", "is not the name of an environment variable"
        if not self.scopes:
            yield "scopes", "are needed: the machine deletes itself, and reads the artifact store"

    def check(self) -> list[Check]:
        """Look whether a machine could be made now. See ``Backend.check``."""
        from zenml.gcp._check import check

        return check(self)

    def permissions(self) -> str:
        """The custom role that whoever starts machines needs. See ``Backend.permissions``."""
        from zenml.gcp._rights import role

        return role(self)

    def _wrong_names(self) -> Iterator[tuple[str, str]]:
        forms = {
            "project": (_PROJECT, "the id of a project, such as 'my-project-1'"),
            "zone": (_ZONE, "a zone, such as 'europe-west1-b'"),
            "instance_name": (_NAME, "up to 30 lower-case letters, digits and '-'"),
            "kms_key": (_KMS_KEY, "projects/P/locations/L/keyRings/R/cryptoKeys/K"),
            "source_disk_image": (_DISK_IMAGE, "projects/P/global/images/NAME or …/family/NAME"),
        }
        for name, (form, words) in forms.items():
            value = getattr(self, name)
            if value is not None and not form.fullmatch(value):
                yield name, f"expected {words}, found '{value}'"
        for tag in self.tags:
            if not _TAG.fullmatch(tag):
                yield "tags", f"is not a tag that Compute Engine takes: '{tag}'"
        if self.api_endpoint is not None and not self.api_endpoint.startswith(
            ("https://", "http://localhost", "http://127.0.0.1")
        ):
            yield "api_endpoint", f"expected an https:// URL, found '{self.api_endpoint}'"
