"""How a Job stands, in the core's terms: from what the cluster says of it, its pods and events.

Exit codes are not interpreted: the runner's own outcome is in the artifact store, and goes before
everything here. What counts here is what the runner could not say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from zenml.core import Cause, JobState
from zenml.k8s._watching import Seen

__all__ = ["needs_events", "state_of"]

_State = JobState | None

#: Of a waiting container: the cause, and whether the wait is in vain. None: see the message.
_WAITING: dict[str, tuple[Cause, bool | None]] = {
    "ErrImageNeverPull": ("IMAGE", True),
    "InvalidImageName": ("IMAGE", True),
    "ErrImagePull": ("IMAGE", None),
    "ImagePullBackOff": ("IMAGE", None),
    "ImageInspectError": ("IMAGE", None),
    "RegistryUnavailable": ("IMAGE", False),
    "CreateContainerConfigError": ("CONFIG", True),
    "CreateContainerError": ("CONFIG", True),
    "RunContainerError": ("CONFIG", True),
}

#: A registry that says so will say so again.
_IN_VAIN = re.compile(
    r"not found|manifest unknown|denied|unauthori[sz]ed|no such image|invalid reference|"
    r"does not exist|no such host",
    re.IGNORECASE,
)

#: Why a pod was ended by somebody else.
_DISRUPTED: dict[str, tuple[Cause, str]] = {
    "PreemptionByScheduler": ("PREEMPTED", "a pod of higher priority took its place"),
    "DeletionByTaintManager": ("EVICTED", "its node was tainted, or went away"),
    "EvictionByEvictionAPI": ("EVICTED", "it was evicted, as when a node is drained"),
    "DeletionByPodGC": ("EVICTED", "its node is not there any more"),
    "TerminationByKubelet": ("EVICTED", "its node ended it"),
}

_REMEDIES: dict[Cause, str] = {
    "IMAGE": "check image= and image_pull_secret_names=, and that the cluster can reach the "
    "registry; 'zenml image build' makes an image",
    "UNSCHEDULABLE": "ask for less (cpu=, memory=, gpus=), for other nodes (node_selector=, "
    "tolerations=), or add nodes",
}


def needs_events(seen: Seen) -> bool:
    """Whether only the cluster's events tell why a Job has not begun."""
    job = seen.job
    if job is None or job["conditions"].keys() & {"Complete", "Failed"} or job["suspended"]:
        return False
    # Before they run, pods wait for volumes, which only events tell.
    return not seen.pods or all(
        pod["phase"] == "Pending"
        and _waits_for(pod) in ("", "ContainerCreating", "PodInitializing")
        for pod in seen.pods
    )


def state_of(seen: Seen, events: Sequence[Mapping[str, Any]] = ()) -> JobState:
    """How a Job with one pod at a time stands.

    Args:
        seen: The Job and its pods.
        events: Warnings about either, where ``needs_events`` asks for them, oldest first.
    """
    job = seen.job
    if job is None:
        return JobState(phase="gone", message="the Job is not there any more")
    pods = sorted(seen.pods, key=lambda pod: (pod["created"], pod["name"]))
    conditions = job["conditions"]
    if "Complete" in conditions:
        return JobState(phase="succeeded")
    if "Failed" in conditions:
        reason, message = conditions["Failed"]
        return _failed(reason, message, pods)
    if job["suspended"] and not pods:
        queue = job["queue"]
        said = f"waits in the queue '{queue}'" if queue else "is suspended"
        return JobState(phase="pending", message=f"the Job {said}")
    last = pods[-1] if pods else None
    if last is None:
        return _without_pods(job, events)
    if last["phase"] == "Pending":
        return _pending(last, events)
    return JobState(phase="running")


def _without_pods(job: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> JobState:
    if job["ending"]:
        return JobState(phase="running", message="the Job is being deleted")
    refusal = next((found for found in reversed(events) if found["reason"] == "FailedCreate"), None)
    if refusal is None:
        return JobState(phase="pending", message="the Job has no pod yet")
    said = refusal["message"].partition("is forbidden: ")[2] or refusal["message"]
    if "exceeded quota" in said:
        return JobState(
            phase="pending",
            cause="UNSCHEDULABLE",
            message=f"the namespace's quota is used up: {said}",
            remedy="ask for less, wait for others to end, or have the quota raised: kubectl "
            "describe quota",
        )
    return JobState(
        phase="pending",
        cause="CONFIG",
        message=f"the cluster refuses its pod: {said}",
        remedy="change what it refuses, by the backend's parameters or pod_template=",
        # An admission webhook may be down for a moment; what the rules forbid, they forbid.
        hopeless="violates PodSecurity" in said or "not found" in said or "forbidden" in said,
    )


def _pending(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> JobState:
    status, reason, message = pod["conditions"].get("PodScheduled", ("", "", ""))
    if status == "False" and reason == "SchedulingGated":
        return JobState(phase="pending", message=f"the pod waits: {message}")
    if status == "False":
        return JobState(
            phase="pending",
            cause="UNSCHEDULABLE",
            message=f"no node takes the pod: {message or reason}",
            remedy=_REMEDIES["UNSCHEDULABLE"],
        )
    for container in [*pod["init"], *pod["containers"]]:
        if container["state"] == "waiting" and container["reason"] in _WAITING:
            return _waiting(container)
        if container["state"] == "terminated" and container["code"]:
            return JobState(phase="pending", message=_ended(container))
    failure = next((found for found in reversed(events) if found["reason"] in _VOLUMES), None)
    if failure is not None:
        said = " ".join(failure["message"].split())
        return JobState(
            phase="pending",
            cause="CONFIG",
            message=f"a volume cannot be mounted: {said}",
            remedy="check volumes=: kubectl get pvc,secret,configmap shows what there is",
            hopeless="not found" in said,
        )
    return JobState(phase="pending")


_VOLUMES = ("FailedMount", "FailedAttachVolume")


def _waiting(container: Mapping[str, Any]) -> JobState:
    reason, said = container["reason"], " ".join(container["message"].split())
    cause, vain = _WAITING[reason]
    remedy = _REMEDIES.get(cause)
    if cause == "CONFIG":
        remedy = "make what it names in the namespace, or correct the backend's parameters"
    return JobState(
        phase="pending",
        cause=cause,
        message=f"{reason}: {said or 'the container cannot be started'}",
        remedy=remedy,
        hopeless=bool(_IN_VAIN.search(said)) if vain is None else vain,
    )


def _failed(reason: str, message: str, pods: Sequence[Mapping[str, Any]]) -> JobState:
    if reason == "DeadlineExceeded":
        return JobState(
            phase="failed",
            cause="TIMEOUT",
            message="the Job was active for longer than it may be",
            remedy="give the backend a longer timeout=",
        )
    found = next((state for pod in reversed(pods) if (state := _failure_of(pod))), None)
    if found is not None:
        return found
    # What the runner has to say about it is in the store.
    return JobState(
        phase="failed", message="" if pods else f"its pod is gone ({reason}: {message})"
    )


def _failure_of(pod: Mapping[str, Any]) -> _State:
    """Why a pod failed, if that is for the cluster to say."""
    status, reason, message = pod["conditions"].get("DisruptionTarget", ("", "", ""))
    if status == "True":
        cause, said = _DISRUPTED.get(reason, ("EVICTED", reason))
        return JobState(phase="failed", cause=cause, message=f"{said}: {message}".rstrip(": "))
    for container in [*pod["init"], *pod["containers"]]:
        if container["state"] != "terminated":
            continue
        if container["reason"] == "OOMKilled":
            return JobState(
                phase="failed",
                cause="OOM",
                message="the pod took more memory than it may",
                remedy="give the backend more memory=, or the step smaller pieces",
            )
        if container["reason"] in ("ContainerCannotRun", "StartError"):
            return JobState(
                phase="failed",
                cause="IMAGE",
                message=f"the image cannot be started: {' '.join(container['message'].split())}",
                remedy="it needs the interpreter that python= names, and zenml-core",
            )
        if container in pod["init"] and container["code"]:
            return JobState(phase="failed", cause="CONFIG", message=_ended(container))
    if pod["reason"] == "Evicted":
        return JobState(phase="failed", cause="EVICTED", message=pod["message"] or "it was evicted")
    if pod["reason"] in ("NodeLost", "NodeShutdown", "Terminated", "Shutdown"):
        return JobState(phase="failed", cause="EVICTED", message=pod["message"] or pod["reason"])
    return None


def _ended(container: Mapping[str, Any]) -> str:
    said = " ".join(container["message"].split())[-500:]
    text = f"the init container '{container['name']}' ended with exit code {container['code']}"
    return f"{text}: {said}" if said else text


def _waits_for(pod: Mapping[str, Any]) -> str:
    """Why a pod's containers wait."""
    return next((found["reason"] for found in pod["containers"] if found["state"] == "waiting"), "")
