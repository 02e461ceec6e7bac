"""How a machine's job stands, in the core's terms.

Exit codes are not interpreted: the runner's own outcome is in the artifact store, and goes before
everything here. What counts here is what the runner could not say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from zenml.core import Cause, JobState
from zenml.gcp._compute import Operation, Place
from zenml.gcp._instance import CAUSES, deletion_of, mark_of, request_id

__all__ = [
    "STOPPED",
    "STOPPING",
    "is_tidied",
    "state_of_gone",
    "state_of_present",
    "state_of_stopped",
]

#: Of a machine that is not made, or not yet.
_WAITS: Final = {
    "PENDING": "waits for a machine",
    "PENDING_STOP": "the machine is going to be stopped",
    "PROVISIONING": "the machine is being made",
    "STAGING": "the machine is about to boot",
}

#: Of a machine that is switched off, or is going to be.
STOPPED: Final = frozenset({"STOPPED", "SUSPENDED", "TERMINATED"})
STOPPING: Final = frozenset({"DEPROVISIONING", "STOPPING", "SUSPENDING"})

#: Who deletes machines whose time is over.
_GOOGLE: Final = "system@google.com"

_STOCK: Final = (
    "the zone has none to give at the moment: try another zone=, another machine_type=, or "
    "preemptible=False, or ask again: retries={'UNSCHEDULABLE': 3}"
)
_QUOTA: Final = (
    "the project's quota is used up: wait for other machines to end, ask for less, or have it "
    "raised (IAM & Admin, Quotas)"
)
#: Why no machine was made, by the form of the code: the cause, and what to do.
_NOT_MADE: Final[dict[str, tuple[Cause, str]]] = {
    "EXHAUSTED|STOCKOUT": ("UNSCHEDULABLE", _STOCK),
    "QUOTA|LIMIT_EXCEEDED": ("UNSCHEDULABLE", _QUOTA),
    "INTERNAL|BACKEND|TIMEOUT": ("INFRA", "Compute Engine failed; ask again"),
}

_OTHERWISE: Final = "correct the backend's parameters; 'zenml plan --render' shows what is sent"


def state_of_present(status: str, place: Place, said: str) -> JobState:
    """How the job of a machine that is there stands.

    Args:
        status: The instance's.
        place: Where it is.
        said: The end of what was written to its serial port.
    """
    if status in _WAITS:
        return JobState(phase="pending", message=_WAITS[status])
    mark = re.escape(mark_of(place.digest))
    told = rf"^zenml-vm\[{mark}\] (preparing|started|ended|failed) ?([^\r\n]*)"
    lines = re.findall(told, said, re.MULTILINE)
    word, words = lines[-1] if lines else ("", "")
    if word == "failed":
        cause, _, message = words.partition(" ")
        return _failed(cause if cause in CAUSES else "INFRA", message)
    if word == "ended":
        if words == "0":
            return JobState(phase="succeeded")
        return JobState(phase="failed", message=f"the job's container ended with {words}")
    if word == "preparing":
        return JobState(phase="pending", message=f"the machine {words}")
    if not said:
        return JobState(phase="pending", message="the machine boots")
    return JobState(phase="running")


def state_of_stopped(
    status: str, place: Place, said: str, operations: Sequence[Operation]
) -> JobState:
    """How the job of a machine stands that is switched off, or is going to be.

    Args:
        status: The instance's.
        place: Where it is.
        said: The end of what was written to its serial port.
        operations: What was done to it.
    """
    if is_tidied(place, operations):
        return JobState(phase="gone", message="the machine is being deleted")
    state = state_of_present(status, place, said)
    if status in STOPPED and not state.ended:
        state = JobState(phase="failed", message="the machine was switched off")
    others = _ended_by(place, operations)
    if state.ended:
        return others or state
    cause = None if others is None else others.cause
    return JobState(phase="running", cause=cause, message="the machine is being switched off")


def is_tidied(place: Place, operations: Sequence[Operation]) -> bool:
    """Whether a client has removed what was left of the job; the machine may need a moment more."""
    return any(
        deletion_of(one.request, place.job, place.digest) == "cleanup"
        for one in operations
        if one.kind == "delete"
    )


def state_of_gone(place: Place, operations: Sequence[Operation]) -> JobState:
    """How the job of a machine stands that is not there, or not there yet."""
    for one in operations:
        if one.kind == "insert" and one.errors:
            return _not_made(one.errors)
        if one.kind == "insert" and not one.done:
            return JobState(phase="pending", message="the machine is being made")
    found = _ended_by(place, operations)
    if found is not None:
        return found
    asked = {one.request for one in operations if one.kind == "delete"}
    for cause in CAUSES:
        if request_id(place.job, place.digest, cause) in asked:
            return _failed(cause, "the machine could not run the job, and has deleted itself")
    return JobState(phase="gone", message="the machine is not there any more")


def _ended_by(place: Place, operations: Sequence[Operation]) -> JobState | None:
    """What somebody else than the job, or a client, has done to its machine."""
    for one in operations:
        if one.kind == "compute.instances.preempted":
            return JobState(
                phase="failed",
                cause="PREEMPTED",
                message="Compute Engine has taken the Spot machine away",
                remedy="use preemptible=False, or allow more retries",
            )
        if one.kind == "compute.instances.hostError":
            return JobState(phase="failed", cause="INFRA", message="the machine's host failed")
        if one.kind not in ("delete", "stop") or one.user in ("", _GOOGLE):
            continue
        if deletion_of(one.request, place.job, place.digest) is not None:
            return None
        done = "stopped" if one.kind == "stop" else "deleted"
        return JobState(
            phase="failed", cause="CANCELLED", message=f"{one.user} has {done} the machine"
        )
    return None


def _not_made(errors: Sequence[tuple[str, str]]) -> JobState:
    code = errors[0][0]
    cause: Cause
    known = (found for form, found in _NOT_MADE.items() if re.search(form, code))
    cause, remedy = next(known, ("CONFIG", _OTHERWISE))
    said = "; ".join(" ".join(words.split()) for _, words in errors) or code
    return JobState(phase="failed", cause=cause, message=f"{code}: {said}", remedy=remedy)


_REMEDIES: Final = {
    "CONFIG": "give source_disk_image= what has it, or leave it out for Container-Optimized OS",
    "IMAGE": "check image=, and that the machine's service account may read the registry "
    "(roles/artifactregistry.reader); 'zenml image build' makes an image",
    "INFRA": "gcloud compute instances get-serial-port-output shows what else the machine said",
}


def _failed(cause: Any, message: str) -> JobState:
    return JobState(phase="failed", cause=cause, message=message, remedy=_REMEDIES[cause])
