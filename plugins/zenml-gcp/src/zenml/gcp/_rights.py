"""Who may do what: the least that a backend needs, for projects that grant no more."""

from __future__ import annotations

from typing import Final

from zenml.gcp._machine import MachineOptions

__all__ = ["role"]

#: What is allowed, by what for.
_ALWAYS: Final = {
    "make a machine with a disk, a script and labels": (
        "compute.disks.create",
        "compute.instances.create",
        "compute.instances.setLabels",
        "compute.instances.setMetadata",
        "compute.instances.setServiceAccount",
        "compute.subnetworks.use",
    ),
    "follow it, read its log, end it": (
        "compute.instances.delete",
        "compute.instances.get",
        "compute.instances.getSerialPortOutput",
        "compute.zoneOperations.list",
    ),
    "see whether a machine could be made ('zenml backend check')": (
        "compute.machineTypes.get",
        "compute.zones.get",
    ),
}


def role(options: MachineOptions) -> str:
    """A custom role, as ``gcloud iam roles create`` reads it, and the machine's own in comments."""
    wanted = dict(_ALWAYS)
    if options.external_ip:
        wanted["give it an address on the internet"] = ("compute.subnetworks.useExternalIp",)
    if options.tags:
        wanted["give it network tags"] = ("compute.instances.setTags",)
    if options.source_disk_image is not None:
        wanted["boot it from an image of the project's"] = ("compute.images.useReadOnly",)
    if options.gpu is not None:
        wanted["see whether the zone has the GPU"] = ("compute.acceleratorTypes.get",)
    project, account = options.project, options.service_account or "SERVICE-ACCOUNT"
    lines = [
        "# For whoever starts machines:",
        f"#   gcloud iam roles create zenmlMachines --project {project} --file this-file.yaml",
        f"#   gcloud projects add-iam-policy-binding {project} --member user:REPLACE-ME \\",
        f"#     --role projects/{project}/roles/zenmlMachines",
        f"#   gcloud iam service-accounts add-iam-policy-binding {account} \\",
        f"#     --project {project} --member user:REPLACE-ME --role roles/iam.serviceAccountUser",
        "title: ZenML machines",
        "description: Starts, follows and ends the virtual machines that run pipelines.",
        "stage: GA",
        "includedPermissions:",
    ]
    for reason, permissions in wanted.items():
        lines.append(f"# {reason}")
        lines += [f"- {permission}" for permission in permissions]
    lines += [
        "# For the machine itself, so that it deletes itself:",
        f"#   gcloud iam roles create zenmlMachine --project {project} \\",
        "#     --permissions compute.instances.delete",
        f"#   gcloud projects add-iam-policy-binding {project} \\",
        f"#     --member serviceAccount:{account} --role projects/{project}/roles/zenmlMachine",
        "# Besides: roles/artifactregistry.reader on the image's repository, and",
        "# roles/storage.objectUser on the artifact store's bucket.",
    ]
    return "\n".join(lines) + "\n"
