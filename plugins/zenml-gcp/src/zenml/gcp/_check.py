"""Whether a machine could be made now: one line for each thing that goes wrong on the first day."""

from __future__ import annotations

from zenml.core import Check
from zenml.core.errors import BackendError
from zenml.gcp import _gpus
from zenml.gcp._compute import Compute, RefusedError, connect
from zenml.gcp._machine import MachineOptions

__all__ = ["check"]


def check(options: MachineOptions) -> list[Check]:
    """See ``Backend.check``. What cannot be looked at after a failure is left out."""
    try:
        compute = connect(options)
    except BackendError as error:
        return [Check("credentials", False, error.message, error.remedy)]
    found = []
    try:
        found.append(_zone(compute, options))
        if found[-1].ok:
            found += _hardware(compute, options)
    except ConnectionError as error:
        found.append(Check("reachable", False, str(error), "a proxy or a firewall may be between"))
    finally:
        compute.rest()
    return [*found, _image(options)]


def _zone(compute: Compute, options: MachineOptions) -> Check:
    where = f"project '{options.project}', zone '{options.zone}'"
    try:
        compute.look_up("ZonesClient", project=options.project, zone=options.zone)
    except RefusedError as error:
        remedy = "check project= and zone=: gcloud compute zones list"
        if error.status == 401:
            remedy = "gcloud auth application-default login"
        elif "has not been used" in error.message or error.reason == "accessNotConfigured":
            remedy = f"gcloud services enable compute.googleapis.com --project {options.project}"
        elif error.status == 403:
            remedy = "'zenml backend permissions' prints the role that is needed"
        return Check("zone", False, f"{where}: {error.message}", remedy)
    return Check("zone", True, where)


def _hardware(compute: Compute, options: MachineOptions) -> list[Check]:
    wanted = [("machine type", "MachineTypesClient", "machine_type", options.machine_type)]
    if options.gpu is not None:
        name = _gpus.accelerator(options.gpu)
        wanted.append(("gpu", "AcceleratorTypesClient", "accelerator_type", name))
    lines = []
    for what, kind, parameter, name in wanted:
        place = {"project": options.project, "zone": options.zone, parameter: name}
        try:
            compute.look_up(kind, **place)
        except RefusedError as error:
            listed = f"gcloud compute {parameter.replace('_', '-')}s list --zones {options.zone}"
            remedy = f"{listed} --project {options.project}"
            lines.append(Check(what, False, f"'{name}': {error.message}", remedy))
        else:
            lines.append(Check(what, True, f"'{name}' is in the zone"))
    return lines


def _image(options: MachineOptions) -> Check:
    if options.image is not None:
        return Check("image", True, f"'{options.image}' is pulled by the machine")
    if options.source_disk_image is not None:
        return Check("image", True, "is on the disk image, or is pulled by its default name")
    remedy = "image= names one in a registry; 'zenml image build' makes one"
    return Check("image", False, "the machine does not know which image to pull", remedy)
