"""Manifests, exactly as they are sent: made offline, of plain data, without the client.

What a run or a step is really called stands in annotations; labels hold what is safe in a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from zenml.core import safe_segment
from zenml.core.image import DEFAULT_IMAGE
from zenml.k8s._options import DNS_LABEL, KubernetesOptions, Volume

__all__ = [
    "CONTAINER",
    "MANAGED_BY",
    "RUN",
    "annotations_of",
    "job",
    "job_name",
    "labels_of",
    "pod_template",
]

#: The name of the container that does the work.
CONTAINER: Final = "zenml"

#: Labels.
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
RUN: Final = "zenml.io/run"

#: A name of a Job, which its pods' names begin with and a label of theirs holds.
_LONGEST: Final = 63

#: Whose spot nodes: labels that they have, and the taint that keeps others away.
_SPOT: Final[Mapping[str, tuple[dict[str, str], str | None]]] = {
    "aks": (
        {"kubernetes.azure.com/scalesetpriority": "spot"},
        "kubernetes.azure.com/scalesetpriority",
    ),
    "eks": ({"eks.amazonaws.com/capacityType": "SPOT"}, None),
    "gke": ({"cloud.google.com/gke-spot": "true"}, "cloud.google.com/gke-spot"),
}


def job_name(options: KubernetesOptions, name: str, longest: int = _LONGEST) -> str:
    """A Job's name with the user's prefix, which is cut rather than the unique end."""
    rest = name.removeprefix("zenml-")
    return options.job_prefix[: max(longest - len(rest), 0)] + rest


def labels_of(
    options: KubernetesOptions, run: str, step: str | None, attempt: int
) -> dict[str, str]:
    """What Jobs and pods are found by."""
    ours = {
        "app.kubernetes.io/name": "zenml",
        MANAGED_BY: "zenml",
        RUN: run if DNS_LABEL.fullmatch(run) else safe_segment(run),
        "zenml.io/attempt": str(attempt),
    }
    if step is not None:
        ours["zenml.io/step"] = safe_segment(step)
    return {**options.extra_labels, **ours}


def annotations_of(options: KubernetesOptions, **said: str | None) -> dict[str, str]:
    """What people and other clients read: names in full, and which task it is."""
    ours = {f"zenml.io/{name}": value for name, value in said.items() if value is not None}
    return {**options.extra_annotations, **ours}


def job(
    options: KubernetesOptions,
    name: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    spec: Mapping[str, Any],
) -> dict[str, Any]:
    """A Job. ``spec`` is laid over what every Job of ours has; its ``template`` is the pods'."""
    metadata: dict[str, Any] = {"name": name, "labels": {**labels}, "annotations": {**annotations}}
    if options.namespace is not None:
        metadata["namespace"] = options.namespace
    ours: dict[str, Any] = {
        # The core tries again, by cause, and each attempt is a Job of its own.
        "backoffLimit": 0,
        # A pod that is ending has to have ended before another takes its place.
        "podReplacementPolicy": "Failed",
        "ttlSecondsAfterFinished": options.ttl,
    }
    if options.queue is not None:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = options.queue
        ours["suspend"] = True
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {**ours, **spec},
    }


def pod_template(
    options: KubernetesOptions,
    command: Sequence[str],
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
) -> dict[str, Any]:
    """The template of the pods: what the ``restricted`` pod security level asks for, and more."""
    context: dict[str, Any] = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if options.run_as_user is not None:
        user = options.run_as_user
        context |= {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
    selector, taint = _SPOT[options.spot] if options.spot else ({}, None)
    tolerations = [*options.tolerations]
    if taint is not None:
        tolerations.append({"key": taint, "operator": "Exists"})
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": options.service_account is not None,
        # Environment variables for every Service would only be in the way.
        "enableServiceLinks": False,
        # So that the runner is not process 1, to which the kernel passes few signals on, and what
        # its work leaves behind is collected.
        "shareProcessNamespace": True,
        "terminationGracePeriodSeconds": options.termination_grace_period,
        "securityContext": context,
        "containers": [_container(options, command)],
        "volumes": [{"name": "scratch", "emptyDir": {}}, *_volumes(options.volumes)],
    }
    asked = {
        "serviceAccountName": options.service_account,
        "priorityClassName": options.priority_class,
        "nodeSelector": {**selector, **options.node_selector},
        "tolerations": tolerations,
        "affinity": options.affinity,
        "imagePullSecrets": [{"name": name} for name in options.image_pull_secret_names],
    }
    spec |= {name: value for name, value in asked.items() if value}
    # A node that could be done without is not taken away under what cannot be moved.
    kept = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    template = {
        "metadata": {"labels": {**labels}, "annotations": {**kept, **annotations}},
        "spec": spec,
    }
    merged: dict[str, Any] = overlaid(template, options.pod_template)
    return merged


def _container(options: KubernetesOptions, command: Sequence[str]) -> dict[str, Any]:
    environment: list[dict[str, Any]] = [
        {"name": name, "value": value}
        for name, value in {"HOME": "/tmp", **options.environment}.items()  # noqa: S108 - the pod's
    ]
    environment += [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": entry.name, "key": entry.key}}}
        for name, entry in options.environment_from_secrets.items()
    ]
    mounts = [{"name": "scratch", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own
    return {
        "name": CONTAINER,
        "image": options.image or DEFAULT_IMAGE,
        "imagePullPolicy": options.image_pull_policy,
        "command": [*command],
        "workingDir": "/tmp",  # noqa: S108 - the pod's own
        "env": environment,
        "resources": _resources(options),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*mounts, *_mounts(options.volumes)],
    }


def _resources(options: KubernetesOptions) -> dict[str, dict[str, str]]:
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if options.cpu is not None:
        requests["cpu"] = options.cpu  # what is idle may be used, so there is no limit
    for name, value in (
        ("memory", options.memory),
        ("ephemeral-storage", options.ephemeral_storage),
        (options.gpu_resource, str(options.gpus) if options.gpus else None),
    ):
        if value is not None:
            requests[name] = limits[name] = value
    return {"requests": requests, "limits": limits}


def _volumes(volumes: Sequence[Volume]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for place, volume in enumerate(volumes):
        source: dict[str, Any]
        if volume.claim is not None:
            source = {"persistentVolumeClaim": {"claimName": volume.claim}}
        elif volume.secret_name is not None:
            source = {"secret": {"secretName": volume.secret_name}}
        else:
            source = {"configMap": {"name": volume.config_map}}
        made.append({"name": f"volume-{place}", **source})
    return made


def _mounts(volumes: Sequence[Volume]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for place, volume in enumerate(volumes):
        mount: dict[str, Any] = {"name": f"volume-{place}", "mountPath": volume.mount_path}
        if volume.sub_path is not None:
            mount["subPath"] = volume.sub_path
        if volume.read_only or volume.claim is None:
            mount["readOnly"] = True
        made.append(mount)
    return made


def overlaid(below: Any, above: Any) -> Any:
    """``above`` laid over ``below``; see ``KubernetesOptions.pod_template``."""
    if isinstance(below, dict) and isinstance(above, dict):
        merged = {
            name: overlaid(value, above[name]) if name in above else value
            for name, value in below.items()
        }
        return merged | {name: value for name, value in above.items() if name not in below}
    if _are_named(below) and _are_named(above):
        others = {item["name"]: item for item in above}
        kept = [overlaid(item, others.pop(item["name"], item)) for item in below]
        return [*kept, *others.values()]
    return above


def _are_named(items: Any) -> bool:
    return isinstance(items, list) and all(
        isinstance(item, dict) and "name" in item for item in items
    )
