"""Custom jobs, exactly as they are sent: made offline, as the JSON of Google's own messages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from zenml.core import Job, safe_segment
from zenml.gcaip._machines import GPUS
from zenml.gcaip._options import VertexOptions

__all__ = ["JOB", "custom_job", "executor_of"]

#: The label that a job is found by: it has no name of our choosing.
JOB: Final = "zenml_job"

#: Seconds that Vertex AI gives beyond those after which the runner ends its own work.
_MARGIN: Final = 60


def custom_job(options: VertexOptions, job: Job, packages: Sequence[str]) -> dict[str, Any]:
    """The body of the request that makes a job.

    Args:
        options: The backend's.
        job: The job.
        packages: URIs of the staged packages; none where there is an image.
    """
    labels = {**options.labels, JOB: job.name, "zenml_run": _label(job.run)}
    labels["zenml_attempt"] = str(job.attempt)
    if job.step is not None:
        labels["zenml_step"] = _label(job.step)
    folder = options.job_dir.rstrip("/")
    spec: dict[str, Any] = {
        "workerPoolSpecs": [_pool(options, job, packages)],
        "scheduling": _scheduling(options, job),
        # Vertex AI tells user code to write there: AIP_MODEL_DIR and its like.
        "baseOutputDirectory": {"outputUriPrefix": f"{folder}/{job.name}/"},
    }
    if options.service_account is not None:
        spec["serviceAccount"] = options.service_account
    if options.network is not None:
        spec["network"] = options.network
    made: dict[str, Any] = {
        "displayName": f"{options.job_name}-{job.name}",
        "labels": labels,
        "jobSpec": spec,
    }
    if options.kms_key_name is not None:
        made["encryptionSpec"] = {"kmsKeyName": options.kms_key_name}
    return made


def executor_of(options: VertexOptions) -> str:
    """The image that staged packages are installed into."""
    if options.executor_image_uri is not None:
        return options.executor_image_uri
    continent = options.region.partition("-")[0]
    place = continent if continent in ("europe", "asia") else "us"
    return f"{place}-docker.pkg.dev/vertex-ai/training/tf-gpu.2-17.py310:latest"


def _pool(options: VertexOptions, job: Job, packages: Sequence[str]) -> dict[str, Any]:
    variables = [{"name": name, "value": value} for name, value in options.environment.items()]
    pool: dict[str, Any] = {
        "machineSpec": {
            "machineType": options.machine_type,
            "acceleratorType": GPUS[options.gpu_type].accelerator,
            "acceleratorCount": 1,
        },
        # As a string: in the JSON of messages, numbers of 64 bits are.
        "replicaCount": "1",
    }
    disk = {"bootDiskType": options.boot_disk_type, "bootDiskSizeGb": options.boot_disk_size_gb}
    if any(disk.values()):
        pool["diskSpec"] = {name: value for name, value in disk.items() if value is not None}
    if options.image is not None:
        python = f"python{options.python_version or ''}"
        container = {"imageUri": options.image, "command": [*job.command(python)]}
        pool["containerSpec"] = {**container, "env": variables}
        return pool
    # Vertex AI starts the interpreter itself, and the module after it.
    _, _, module, *arguments = job.command()
    pool["pythonPackageSpec"] = {
        "executorImageUri": executor_of(options),
        "packageUris": [*packages],
        "pythonModule": module,
        "args": arguments,
        "env": variables,
    }
    return pool


def _scheduling(options: VertexOptions, job: Job) -> dict[str, Any]:
    limit = float(options.max_running_time)
    if job.timeout is not None:
        limit = min(limit, job.timeout + _MARGIN)
    made = {
        "timeout": f"{math.ceil(limit)}s",
        "strategy": options.strategy,
        # The core tries again, by cause, and each attempt is a job of its own.
        "disableRetries": True,
    }
    if options.max_wait is not None:
        made["maxWaitDuration"] = f"{options.max_wait}s"
    return made


def _label(text: str) -> str:
    """A text as the value of a label, which takes few letters and not many of them."""
    plain = text.replace("-", "").isalnum() and text.isascii() and text == text.lower()
    return text if plain and len(text) <= 63 else safe_segment(text)
