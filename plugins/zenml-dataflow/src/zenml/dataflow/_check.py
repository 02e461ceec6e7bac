"""Whether Dataflow could be used now: one line for each thing that goes wrong on the first day."""

from __future__ import annotations

from typing import Any

from zenml.core import Check
from zenml.core.errors import BackendError, StoreError
from zenml.dataflow._api import SECONDS, ask, connect, see_folder
from zenml.dataflow._options import DataflowOptions

__all__ = ["check"]


def check(options: DataflowOptions) -> list[Check]:
    """See ``Backend.check``. What cannot be looked at after a failure is left out."""
    gpu = f" with {options.gpu_count} {options.gpu_type}" if options.gpu_type else ""
    most = options.max_num_workers
    if options.autoscaling_algorithm == "NONE":
        most = options.num_workers
    machines = Check("machines", True, f"up to {most} {options.machine_type}{gpu}")
    try:
        clients = connect(options)
    except BackendError as error:
        return [machines, Check("credentials", False, error.message, error.remedy)]
    found = [machines, _service(options, clients)]
    if found[-1].ok and options.staging_location is not None:
        found.append(_folder(options, options.staging_location))
    software = options.image or "packages, in Beam's image"
    return [*found, Check("software", True, software)]


def _service(options: DataflowOptions, clients: Any) -> Check:
    request = clients.types.ListJobsRequest(
        project_id=options.project, location=options.region, page_size=1
    )
    try:
        with ask(options, "Dataflow"):
            clients.jobs.list_jobs(request, retry=None, timeout=SECONDS)
    except BackendError as error:
        return Check("Dataflow", False, error.message, error.remedy)
    except ConnectionError as error:
        return Check("Dataflow", False, str(error), "check the network, and a proxy on the way")
    return Check("Dataflow", True, f"projects/{options.project}/locations/{options.region}")


def _folder(options: DataflowOptions, url: str) -> Check:
    try:
        see_folder(options, url)
    except StoreError as error:
        return Check("staging_location", False, error.message, error.remedy)
    return Check("staging_location", True, url)
