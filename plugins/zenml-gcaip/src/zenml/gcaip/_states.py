"""How a custom job stands, in the core's terms: from its state, its error and its times.

Exit codes are not interpreted: the runner's own outcome is in the artifact store, and goes before
everything here. What counts here is what the runner could not say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from zenml.core import Cause, JobState

__all__ = ["ENDED", "state_of"]

#: States that a job does not leave.
ENDED: Final = frozenset(
    {
        "JOB_STATE_SUCCEEDED",
        "JOB_STATE_FAILED",
        "JOB_STATE_CANCELLED",
        "JOB_STATE_EXPIRED",
        "JOB_STATE_PARTIALLY_SUCCEEDED",
    }
)

_WAITING: Final[Mapping[str, str]] = {
    "JOB_STATE_UNSPECIFIED": "",
    "JOB_STATE_QUEUED": "the job is queued: others of the project may use up its quota",
    "JOB_STATE_PENDING": "a machine with a GPU is being prepared",
}

#: What errors say, and what that means; the first that fits. None: the outcome says more.
_ERRORS: Final[tuple[tuple[str, Cause | None, str | None], ...]] = (
    (r"preempt", "PREEMPTED", None),
    (
        r"out[- ]of[- ]memory|low on memory|exhausted memory|\boom\b",
        "OOM",
        "give it a larger machine_type=, or the step smaller pieces",
    ),
    (
        r"\bimage\b.*(not found|does not exist|denied|pull|access|invalid)|pull\w*.*\bimage\b",
        "IMAGE",
        "check image=, and that the agent of Vertex AI has roles/artifactregistry.reader on it",
    ),
    (
        r"non-zero status of 127\b|command not found",
        "IMAGE",
        "the image needs the interpreter 'python', or the one that python_version= names",
    ),
    (
        r"quota",
        "UNSCHEDULABLE",
        "have the quota of the GPU raised, or take another gpu_type= or region=",
    ),
    (
        r"insufficient|stockout|not enough resources|out of (capacity|resources)|unavailable in",
        "UNSCHEDULABLE",
        "take another region=, gpu_type= or machine_type=, or strategy='FLEX_START', which waits",
    ),
    (
        r"not (supported|available) in",
        "CONFIG",
        "take another region=, gpu_type= or machine_type=",
    ),
    (
        r"service account|permission",
        "CONFIG",
        "give the account the roles that 'zenml backend permissions' prints",
    ),
    (r"(maximum|max) (running|run) ?time|deadline", "TIMEOUT", "a longer max_running_time="),
    (r"exited with a non-zero status", None, None),
)

#: google.rpc.Code of what is nobody's fault here: ABORTED, INTERNAL, UNAVAILABLE.
_INFRA: Final = frozenset({10, 13, 14})


def state_of(job: Mapping[str, Any]) -> JobState:
    """How a job stands.

    Args:
        job: ``state``, ``error`` with ``code`` and ``message``, ``started``, ``ended``, ``timeout``
            (seconds); ``ended`` is when it was last changed, if it has not ended.
    """
    state = job["state"]
    if state in _WAITING:
        return JobState(phase="pending", message=_WAITING[state])
    if state == "JOB_STATE_CANCELLING" and _was_too_long(job):
        return JobState(phase="running", cause="TIMEOUT", message=_too_long(job))
    if state == "JOB_STATE_CANCELLING":
        return JobState(phase="running", cause="CANCELLED", message="it is being cancelled")
    if state not in ENDED:
        paused = "Vertex AI has paused it" if state == "JOB_STATE_PAUSED" else ""
        return JobState(phase="running", message=paused)
    if state in ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED"):
        return JobState(phase="succeeded")
    if _was_too_long(job):
        return JobState(
            phase="failed",
            cause="TIMEOUT",
            message=_too_long(job),
            remedy="give the backend a longer max_running_time=",
        )
    if state == "JOB_STATE_CANCELLED":
        return JobState(phase="failed", cause="CANCELLED", message="somebody cancelled the job")
    if state == "JOB_STATE_EXPIRED" and job["started"] is None:
        return JobState(
            phase="failed",
            cause="UNSCHEDULABLE",
            message="there was no such machine as long as the job could wait",
            remedy="a longer max_wait=, another region= or gpu_type=",
        )
    return _failed(job["error"])


def _too_long(job: Mapping[str, Any]) -> str:
    return f"Vertex AI ended it after {job['timeout']:.0f} s"


def _was_too_long(job: Mapping[str, Any]) -> bool:
    started, ended, timeout = job["started"], job["ended"], job["timeout"]
    if not isinstance(started, datetime) or not isinstance(ended, datetime) or not timeout:
        return False
    return bool((ended - started).total_seconds() >= timeout)


def _failed(error: Mapping[str, Any]) -> JobState:
    said = " ".join(error["message"].split())
    for words, cause, remedy in _ERRORS:
        if re.search(words, said, re.IGNORECASE):
            return JobState(phase="failed", cause=cause, message=said, remedy=remedy)
    if error["code"] in _INFRA or "internal error" in said.lower():
        return JobState(phase="failed", cause="INFRA", message=said or "Vertex AI failed")
    # What the runner has to say about it is in the store.
    return JobState(phase="failed", message=said)
