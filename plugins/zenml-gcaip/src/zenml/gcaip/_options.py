"""What a job on Vertex AI can be told: where it runs, on what machine, with what software."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta

from zenml.core import Check, Settings
from zenml.core.errors import Problem
from zenml.gcaip._machines import problems_with

__all__ = ["VertexOptions"]

_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{6,}")
_REGION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+")
_FOLDER = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
_NAME = re.compile(r"[^\x00-\x1f]{1,64}")
_ACCOUNT = re.compile(r"[\w.-]+@[\w.-]+")
_NETWORK = re.compile(r"projects/[\w.:-]+/global/networks/[a-z]([-a-z0-9]*[a-z0-9])?")
_KMS_KEY = re.compile(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
_ENDPOINT = re.compile(r"https?://[\w.-]+(:\d+)?")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PYTHON = re.compile(r"3\.(\d+)")
_PREBUILT = re.compile(r"(us|europe|asia)-docker\.pkg\.dev/vertex-ai/training/[\w.-]+(:[\w.-]+)?")

#: The oldest that zenml-core runs on.
_OLDEST: Final = 10


class VertexOptions(Settings):
    """Where a trainer's job runs, and on what.

    Args:
        project: The project that the job is in, and that pays for it.
        job_dir: Folder in Cloud Storage, ``gs://BUCKET/FOLDER``: packages are staged there, and
            what user code writes where Vertex AI tells it to.
        gpu_type: The one GPU: T4, L4, P4, P100, V100, A100, A100_80GB, H100, RTX_PRO_6000.
        machine_type: The machine, which has to go with the GPU.
        image: An image that holds zenml-core, zenml-gcp and what the trainer needs. Without one,
            these are staged as packages and installed where the job runs.
        job_name: What the job is called in the console, before what makes its name unique.
        region: Where it runs.
        python_version: Which interpreter of ``image``: ``3.11`` starts ``python3.11``; by default
            ``python``. Without an image of your own, Google's decides.
        max_running_time: Seconds after which Vertex AI ends one attempt, whatever it does.
        executor_image_uri: One of Google's prebuilt training images, for staged packages; by
            default one with TensorFlow for GPUs, from the continent of the region.
        requirements: What pip installs beside what the trainer needs, where packages are staged:
            ``tensorflow[and-cuda]``.
        strategy: STANDARD; SPOT, cheaper and taken away at any time; FLEX_START, which waits until
            there is such a machine.
        max_wait: Seconds that FLEX_START may wait for one.
        service_account: Whose rights the job has; by default an agent's of Vertex AI.
        network: VPC network that the job is in, ``projects/NUMBER/global/networks/NAME``.
        kms_key_name: Key of Cloud KMS that the job, and what is staged for it, is encrypted with.
        labels: Further labels of the job.
        boot_disk_type: The machine's disk; by default what Vertex AI takes.
        boot_disk_size_gb: Its size.
        environment: Environment variables; no secrets.
        impersonate_service_account: Ask Google Cloud as this account, which yours may make tokens
            for.
        api_endpoint: Where Vertex AI is, if not at ``REGION-aiplatform.googleapis.com``. Plain HTTP
            is an emulator's: it is told no secret.
        logging_endpoint: Where Cloud Logging is, likewise.
    """

    project: str
    job_dir: str
    gpu_type: str = "T4"
    machine_type: str = "n1-standard-4"
    image: str | None = None
    job_name: str = "train"
    region: str = "europe-west1"
    python_version: str | None = None
    max_running_time: Annotated[int, Meta(ge=1)] = 7200
    executor_image_uri: str | None = None
    requirements: list[str] = []  # noqa: RUF012 - copied for each backend
    strategy: Literal["STANDARD", "SPOT", "FLEX_START"] = "STANDARD"
    max_wait: Annotated[int, Meta(ge=1)] | None = None
    service_account: str | None = None
    network: str | None = None
    kms_key_name: str | None = None
    labels: dict[str, str] = {}  # noqa: RUF012
    boot_disk_type: Literal["pd-ssd", "pd-standard", "hyperdisk-balanced"] | None = None
    boot_disk_size_gb: Annotated[int, Meta(ge=100, le=64000)] | None = None
    environment: dict[str, str] = {}  # noqa: RUF012
    impersonate_service_account: str | None = None
    api_endpoint: str | None = None
    logging_endpoint: str | None = None

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """What Vertex AI would refuse once the job was sent."""
        yield from super().validate()
        yield from problems_with(self.gpu_type, self.machine_type, self.strategy)
        yield from self._wrong_names()
        yield from self._wrong_software()
        if self.max_wait is not None and self.strategy != "FLEX_START":
            yield Problem(
                "max_wait", f"'{self.strategy}' does not wait", "strategy='FLEX_START' does"
            )
        pending: float = getattr(self, "pending_timeout", float("inf"))
        if self.max_wait is not None and self.max_wait > pending:
            message = f"is longer than the {pending:.0f} s of pending_timeout, which end the wait"
            yield Problem("max_wait", message, f"pending_timeout={self.max_wait}")

    def check(self) -> list[Check]:
        """Look whether Vertex AI could be used now. See ``Backend.check``."""
        from zenml.gcaip._check import check

        return check(self)

    def permissions(self) -> str:
        """The role that whoever uses the backend needs. See ``Backend.permissions``."""
        from zenml.gcaip._rights import role

        return role(self)

    def _wrong_names(self) -> Iterator[Problem]:
        forms = (
            ("project", _PROJECT, "the ID of a project, such as 'my-project'"),
            ("job_dir", _FOLDER, "a folder in Cloud Storage, such as 'gs://bucket/folder'"),
            ("job_name", _NAME, "up to 64 characters on one line"),
            ("region", _REGION, "a region, such as 'europe-west1'"),
            ("service_account", _ACCOUNT, "the address of a service account"),
            ("impersonate_service_account", _ACCOUNT, "the address of a service account"),
            ("network", _NETWORK, "'projects/NUMBER/global/networks/NAME'"),
            ("kms_key_name", _KMS_KEY, "'projects/…/locations/…/keyRings/…/cryptoKeys/…'"),
            ("api_endpoint", _ENDPOINT, "a URL without a path"),
            ("logging_endpoint", _ENDPOINT, "a URL without a path"),
        )
        for name, form, meant in forms:
            value = getattr(self, name)
            if value is not None and not form.fullmatch(value):
                yield Problem(name, f"expected {meant}, found '{value}'")
        key = _KMS_KEY.fullmatch(self.kms_key_name or "")
        if key and key[1] != self.region:
            message = f"is in '{key[1]}', and the job in '{self.region}'"
            yield Problem("kms_key_name", message, f"a key in '{self.region}'")
        for name, value in self.labels.items():
            if not _LABEL_KEY.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
                letters = "lower-case letters, digits, '_' and '-', at most 63"
                yield Problem(f"labels.{name}", f"expected {letters}, found '{value}'")
            elif name.startswith("zenml_"):
                yield Problem(f"labels.{name}", "is one of ours: jobs are found by it")
        for name in self.environment:
            if not _VARIABLE.fullmatch(name):
                yield Problem(f"environment.{name}", "is not the name of an environment variable")
            elif name.startswith("AIP_"):
                yield Problem(f"environment.{name}", "is set by Vertex AI")

    def _wrong_software(self) -> Iterator[Problem]:
        if self.image is not None and self.executor_image_uri is not None:
            message = "is for staged packages, and image= holds them"
            yield Problem("executor_image_uri", message, "give one of the two")
        if self.executor_image_uri is not None and not _PREBUILT.fullmatch(self.executor_image_uri):
            message = (
                f"expected a prebuilt training image of Google's, found '{self.executor_image_uri}'"
            )
            remedy = "'europe-docker.pkg.dev/vertex-ai/training/…'; one of your own is image="
            yield Problem("executor_image_uri", message, remedy)
        if self.requirements and self.image is not None:
            message = "are installed where packages are staged, and image= holds them"
            yield Problem("requirements", message, "put them into the image")
        if self.python_version is None:
            return
        version = _PYTHON.fullmatch(self.python_version)
        if version is None or int(version[1]) < _OLDEST:
            message = f"expected '3.{_OLDEST}' or later, found '{self.python_version}'"
            yield Problem("python_version", message, "leave it out: the image says which it has")
        elif self.image is None:
            message = "Google's prebuilt image decides where packages are staged"
            remedy = "leave it out, or choose with executor_image_uri=: '….py310:latest'"
            yield Problem("python_version", message, remedy)
