"""The machine of a job, exactly as it is asked for: made offline, of plain data."""

from __future__ import annotations

import math
import re
import uuid
from typing import Any, Final, Literal

from zenml.core import Job, safe_segment
from zenml.core.image import DEFAULT_IMAGE
from zenml.gcp import _gpus
from zenml.gcp._machine import API, LONGEST, MachineOptions
from zenml.gcp._startup import SHUTDOWN, startup

__all__ = [
    "CAUSES",
    "DIGEST",
    "Deletion",
    "deletion_id",
    "deletion_of",
    "instance_name",
    "mark_of",
    "render",
    "request_id",
]

#: The metadata entry that tells what a machine does from what another one of its name would do.
DIGEST: Final = "zenml-digest"

#: What a machine can say of a job that did not run, by the id of the request that deletes it.
CAUSES: Final = ("CONFIG", "IMAGE", "INFRA")

#: Container-Optimized OS, as it is supported at the moment.
_DISK_IMAGE: Final = "projects/cos-cloud/global/images/family/cos-stable"

#: Seconds that a machine may take beyond the job's timeout: to boot, to install a driver, to pull
#: an image, and to end.
_BEYOND: Final = 3600

_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")

#: What a client deletes a machine for: to end it, or because it has ended.
Deletion = Literal["cancel", "cleanup"]
_DELETIONS: Final[tuple[Deletion, ...]] = ("cancel", "cleanup")

#: Digits of an id by which a request is known for ours; a version of the id follows them.
_OURS: Final = 12

#: The namespace of the ids below.
_IDS: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "gcp.zenml")


def instance_name(options: MachineOptions, name: str) -> str:
    """A machine's name with the user's beginning, which is cut rather than the unique end."""
    if options.instance_name is None:
        return name
    rest = name.removeprefix("zenml-")
    return f"{options.instance_name[: 62 - len(rest)].rstrip('-')}-{rest}"


def request_id(job: str, digest: str, what: str = "insert") -> str:
    """The id of a request about a job: the same wherever it is made."""
    return str(uuid.uuid5(_IDS, f"{job}/{digest}/{what}"))


def deletion_id(job: str, digest: str, what: Deletion) -> str:
    """The id of a request of a client's that deletes a job's machine.

    Another one each time, because an id that comes twice is answered as it was the first time,
    whatever has come of that; by its beginning it is known.
    """
    ours = request_id(job, digest, what).replace("-", "")[:_OURS]
    return str(uuid.UUID(ours + uuid.uuid4().hex[_OURS:], version=4))


def deletion_of(request: str, job: str, digest: str) -> Deletion | Literal["own"] | None:
    """What a job's machine is deleted for by a request; None if it is none of ours."""
    if request in (request_id(job, digest, cause) for cause in ("ENDED", *CAUSES)):
        return "own"
    for what in _DELETIONS:
        if request.startswith(request_id(job, digest, what)[: _OURS + 1]):
            return what
    return None


def mark_of(digest: str) -> str:
    """What a machine's own lines on its serial port are known by."""
    return digest[:12]


def render(options: MachineOptions, job: Job) -> dict[str, Any]:
    """What is asked for: where, by which request, the instance, and what its container runs.

    ``instance`` is the body of the request, as the REST API takes it.
    """
    name = instance_name(options, job.name)
    image = options.image or DEFAULT_IMAGE
    command = [*job.command(options.python)]
    return {
        "project": options.project,
        "zone": options.zone,
        "requestId": request_id(job.name, job.digest),
        "container": {"image": image, "command": command},
        "instance": _instance(options, job, name, _script(options, job, name, image, command)),
    }


def _script(options: MachineOptions, job: Job, name: str, image: str, command: list[str]) -> str:
    endpoint = (options.api_endpoint or API).rstrip("/")
    place = f"projects/{options.project}/zones/{options.zone}/instances/{name}"
    variables = {"HOME": "/tmp", **options.environment}  # noqa: S108 - the container's own
    return startup(
        machine=f"{endpoint}/compute/v1/{place}",
        mark=mark_of(job.digest),
        requests={cause: request_id(job.name, job.digest, cause) for cause in ("ENDED", *CAUSES)},
        image=image,
        command=command,
        options=[word for key, value in variables.items() for word in ("--env", f"{key}={value}")],
        gpus=_has_gpus(options),
        linger=options.linger,
    )


def _instance(options: MachineOptions, job: Job, name: str, script: str) -> dict[str, Any]:
    zone = f"zones/{options.zone}"
    step = f", step '{job.step}'" if job.step is not None else ""
    described = f"ZenML: pipeline '{job.pipeline}'{step}, run {job.run}, attempt {job.attempt}"
    metadata = {
        "startup-script": script,
        "shutdown-script": SHUTDOWN,
        DIGEST: job.digest,
        # Who may log in to all machines of the project has no business on this one.
        "block-project-ssh-keys": "TRUE",
    }
    made: dict[str, Any] = {
        "name": name,
        "description": described.encode()[:2000].decode("utf-8", "ignore"),
        "machineType": f"{zone}/machineTypes/{options.machine_type}",
        "labels": {
            **options.labels,
            "zenml-run": job.run if _LABEL.fullmatch(job.run) else safe_segment(job.run),
            "zenml-attempt": str(job.attempt),
        },
        "scheduling": _scheduling(options, job),
        "disks": [_disk(options)],
        "networkInterfaces": [_network(options)],
        "serviceAccounts": [
            {"email": options.service_account or "default", "scopes": [*options.scopes]}
        ],
        "metadata": {"items": [{"key": key, "value": text} for key, text in metadata.items()]},
    }
    if options.gpu is not None and not _gpus.brings_gpus(options.machine_type):
        kind = (
            f"projects/{options.project}/{zone}/acceleratorTypes/{_gpus.accelerator(options.gpu)}"
        )
        made["guestAccelerators"] = [
            {"acceleratorType": kind, "acceleratorCount": options.gpu_count}
        ]
    if options.tags:
        made["tags"] = {"items": [*options.tags]}
    if options.shielded_vm:
        made["shieldedInstanceConfig"] = {
            "enableSecureBoot": True,
            "enableVtpm": True,
            "enableIntegrityMonitoring": True,
        }
    return made


def _has_gpus(options: MachineOptions) -> bool:
    return options.gpu is not None or _gpus.brings_gpus(options.machine_type)


def _scheduling(options: MachineOptions, job: Job) -> dict[str, Any]:
    seconds = LONGEST if job.timeout is None else math.ceil(job.timeout) + _BEYOND
    # A machine with a GPU, or one that may be taken away, cannot move to another host.
    stays = options.preemptible or _has_gpus(options)
    return {
        "provisioningModel": "SPOT" if options.preemptible else "STANDARD",
        # When it is taken away, and when its time is over.
        "instanceTerminationAction": "DELETE",
        # For a machine that cannot delete itself. The runner keeps the timeout.
        "maxRunDuration": {"seconds": str(min(seconds, LONGEST))},
        "onHostMaintenance": "TERMINATE" if stays else "MIGRATE",
        # The core tries again, by cause, and each attempt is a machine of its own.
        "automaticRestart": False,
    }


def _disk(options: MachineOptions) -> dict[str, Any]:
    made: dict[str, Any] = {
        "boot": True,
        "autoDelete": True,
        "initializeParams": {
            "sourceImage": options.source_disk_image or _DISK_IMAGE,
            "diskSizeGb": str(options.disk_size),
            "diskType": f"zones/{options.zone}/diskTypes/{options.disk_type}",
        },
    }
    if options.kms_key is not None:
        made["diskEncryptionKey"] = {"kmsKeyName": options.kms_key}
    return made


def _network(options: MachineOptions) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if options.network is not None:
        named = "/" in options.network
        made["network"] = options.network if named else f"global/networks/{options.network}"
    elif options.subnetwork is None:
        made["network"] = "global/networks/default"
    if options.subnetwork is not None:
        region = options.zone.rpartition("-")[0]
        named = "/" in options.subnetwork
        made["subnetwork"] = (
            options.subnetwork if named else f"regions/{region}/subnetworks/{options.subnetwork}"
        )
    if options.external_ip:
        made["accessConfigs"] = [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]
    return made
