"""What a cluster says of a Job, in the core's terms and in words."""

from __future__ import annotations

from typing import Any

import pytest

from zenml.k8s._states import needs_events, state_of
from zenml.k8s._watching import Seen, trim_job, trim_pod


def job(*conditions: tuple[str, str, str], **changes: Any) -> dict[str, Any]:
    status = {
        "conditions": [
            {"type": kind, "status": "True", "reason": reason, "message": message}
            for kind, reason, message in conditions
        ]
    }
    metadata = {"name": "j", "uid": "1", **changes.pop("metadata", {})}
    return trim_job({"metadata": metadata, "status": {**status, **changes}, "spec": changes})


def pod(phase: str = "Pending", **status: Any) -> dict[str, Any]:
    created = status.pop("created", "2026-01-01T00:00:00Z")
    labels = {"batch.kubernetes.io/job-name": "j"}
    metadata = {"name": f"p-{created}", "uid": created, "labels": labels}
    metadata["creationTimestamp"] = created
    return trim_pod({"metadata": metadata, "spec": {}, "status": {"phase": phase, **status}})


def waiting(reason: str, message: str = "", name: str = "zenml") -> dict[str, Any]:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": message}}}


def ended(code: int, reason: str = "Error", message: str = "", name: str = "zenml") -> Any:
    told = {"exitCode": code, "reason": reason, "message": message}
    return {"name": name, "state": {"terminated": told}}


FAILED = ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


def disrupted(reason: str, message: str = "") -> dict[str, Any]:
    told = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return pod("Failed", conditions=[told])


@pytest.mark.parametrize(
    ("seen", "phase"),
    [
        (Seen(None, []), "gone"),
        (Seen(job(("Complete", "", "")), []), "succeeded"),
        (Seen(job(FAILED), []), "failed"),
        (Seen(job(), []), "pending"),
        (Seen(job(), [pod()]), "pending"),
        (Seen(job(), [pod("Running")]), "running"),
        # The Job says so a moment later, and its outcome may be on its way.
        (Seen(job(), [pod("Succeeded")]), "running"),
        (Seen(job(metadata={"deletionTimestamp": "now"}), []), "running"),
    ],
)
def test_phases(seen: Seen, phase: str) -> None:
    assert state_of(seen).phase == phase


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (disrupted("PreemptionByScheduler"), "PREEMPTED"),
        (disrupted("EvictionByEvictionAPI"), "EVICTED"),
        (disrupted("DeletionByTaintManager"), "EVICTED"),
        (disrupted("DeletionByPodGC"), "EVICTED"),
        (disrupted("SomethingNew"), "EVICTED"),
        (pod("Failed", reason="Evicted", message="low on resource: memory"), "EVICTED"),
        (pod("Failed", containerStatuses=[ended(137, "OOMKilled")]), "OOM"),
        (pod("Failed", containerStatuses=[ended(128, "StartError", "no python")]), "IMAGE"),
        (pod("Failed", initContainerStatuses=[ended(2, name="fetch")]), "CONFIG"),
        # Only the outcome in the store tells what the runner itself met.
        (pod("Failed", containerStatuses=[ended(64)]), None),
        (pod("Failed", containerStatuses=[ended(137)]), None),
    ],
)
def test_causes_of_a_failure(found: dict[str, Any], cause: str | None) -> None:
    state = state_of(Seen(job(FAILED), [found]))
    assert (state.phase, state.cause) == ("failed", cause)
    if cause is not None:
        assert state.message


def test_a_deadline_is_a_timeout() -> None:
    state = state_of(Seen(job(("Failed", "DeadlineExceeded", "active longer")), []))
    assert (state.phase, state.cause) == ("failed", "TIMEOUT")


def test_the_last_pod_tells() -> None:
    first = pod("Failed", containerStatuses=[ended(137, "OOMKilled")])
    last = pod("Failed", reason="Evicted", message="disk", created="2026-01-02T00:00:00Z")
    assert state_of(Seen(job(FAILED), [last, first])).cause == "EVICTED"


@pytest.mark.parametrize(
    ("container", "cause", "hopeless", "word"),
    [
        (waiting("ErrImageNeverPull", "image is not present"), "IMAGE", True, "not present"),
        (waiting("InvalidImageName"), "IMAGE", True, "InvalidImageName"),
        (waiting("ImagePullBackOff", "… not found"), "IMAGE", True, "not found"),
        (waiting("ErrImagePull", "401 Unauthorized"), "IMAGE", True, "Unauthorized"),
        # A registry that is down for now.
        (waiting("ErrImagePull", "i/o timeout"), "IMAGE", False, "timeout"),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), "CONFIG", True, "secret"),
    ],
)
def test_a_container_that_waits_in_vain(
    container: dict[str, Any], cause: str, hopeless: bool, word: str
) -> None:
    state = state_of(Seen(job(), [pod(containerStatuses=[container])]))
    assert (state.phase, state.cause, state.hopeless) == ("pending", cause, hopeless)
    assert word in state.message
    assert state.remedy


def test_an_init_container_that_waits_is_told_too() -> None:
    found = pod(initContainerStatuses=[waiting("ErrImageNeverPull", name="fetch")])
    assert state_of(Seen(job(), [found])).cause == "IMAGE"


def test_a_pod_that_no_node_takes() -> None:
    told = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient memory.",
    }
    state = state_of(Seen(job(), [pod(conditions=[told])]))
    assert (state.phase, state.cause, state.hopeless) == ("pending", "UNSCHEDULABLE", False)
    assert "Insufficient memory" in state.message
    assert "memory=" in (state.remedy or "")


@pytest.mark.parametrize(
    ("message", "cause", "hopeless"),
    [
        (
            'Error creating: pods "j-1" is forbidden: exceeded quota: q, requested: memory=1Gi',
            "UNSCHEDULABLE",
            False,
        ),
        (
            'Error creating: pods "j-1" is forbidden: violates PodSecurity "restricted:latest"',
            "CONFIG",
            True,
        ),
        (
            'Error creating: pods "j-1" is forbidden: serviceaccount "x" not found',
            "CONFIG",
            True,
        ),
        ("Error creating: Internal error: failed calling webhook", "CONFIG", False),
    ],
)
def test_a_job_whose_pods_are_refused(message: str, cause: str, hopeless: bool) -> None:
    seen = Seen(job(), [])
    assert needs_events(seen)
    state = state_of(seen, [{"reason": "FailedCreate", "message": message}])
    assert (state.phase, state.cause, state.hopeless) == ("pending", cause, hopeless)
    assert message.rpartition(": ")[2] in state.message


def test_a_volume_that_cannot_be_mounted() -> None:
    seen = Seen(job(), [pod(containerStatuses=[waiting("ContainerCreating")])])
    assert needs_events(seen)
    told = 'MountVolume.SetUp failed for volume "v" : secret "nope" not found'
    state = state_of(seen, [{"reason": "FailedMount", "message": told}])
    assert (state.cause, state.hopeless) == ("CONFIG", True)
    assert 'secret "nope"' in state.message


def test_a_job_in_a_queue_says_so() -> None:
    found = job(suspend=True, metadata={"labels": {"kueue.x-k8s.io/queue-name": "gpus"}})
    state = state_of(Seen(found, []))
    assert state.phase == "pending"
    assert "'gpus'" in state.message
    assert not needs_events(Seen(found, []))


def test_events_are_asked_for_only_where_nothing_else_tells() -> None:
    assert not needs_events(Seen(job(), [pod("Running")]))
    assert not needs_events(Seen(job(), [pod(containerStatuses=[waiting("ErrImagePull")])]))
    assert not needs_events(Seen(job(("Complete", "", "")), []))
    assert not needs_events(Seen(None, []))
