"""What a job's state and its error mean to whoever waits for it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from zenml.gcaip._states import state_of

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def a_job(state: str, message: str = "", code: int = 3, **changes: Any) -> dict[str, Any]:
    told = {
        "state": f"JOB_STATE_{state}",
        "error": {"code": code, "message": message},
        "started": BEGUN,
        "ended": BEGUN + timedelta(seconds=60),
        "timeout": 7200.0,
    }
    return {**told, **changes}


@pytest.mark.parametrize(
    ("state", "phase", "cause"),
    [
        ("QUEUED", "pending", None),
        ("PENDING", "pending", None),
        ("RUNNING", "running", None),
        ("UPDATING", "running", None),
        ("PAUSED", "running", None),
        ("CANCELLING", "running", "CANCELLED"),
        ("SUCCEEDED", "succeeded", None),
        ("CANCELLED", "failed", "CANCELLED"),
        ("FAILED", "failed", None),
    ],
)
def test_states(state, phase, cause):
    found = state_of(a_job(state))
    assert (found.phase, found.cause) == (phase, cause)


def test_what_waits_says_why():
    assert "quota" in state_of(a_job("QUEUED")).message
    assert "machine" in state_of(a_job("PENDING")).message


@pytest.mark.parametrize(
    ("message", "code", "cause"),
    [
        ("The replica workerpool0-0 was preempted.", 8, "PREEMPTED"),
        (
            "Replica 0 ran out-of-memory and exited with a non-zero status of 137",
            3,
            "OOM",
        ),
        ("The replica workerpool0-0 is low on memory and was killed", 3, "OOM"),
        ("Failed to pull image europe-docker.pkg.dev/p/i:1: manifest unknown", 3, "IMAGE"),
        ("The image europe-docker.pkg.dev/p/i:1 was not found", 5, "IMAGE"),
        ("The replica workerpool0-0 exited with a non-zero status of 127.", 3, "IMAGE"),
        (
            "The following quota metrics exceed quota limits: custom_model_training_cpus",
            8,
            "UNSCHEDULABLE",
        ),
        (
            "Resources are insufficient in region: europe-west1. Please try a different region.",
            8,
            "UNSCHEDULABLE",
        ),
        ("Machine type a3-highgpu-1g is not supported in region europe-west1", 3, "CONFIG"),
        ("The service account trainer@p.iam.gserviceaccount.com does not exist", 3, "CONFIG"),
        ("The replica workerpool0-0 exited with a non-zero status of 1.", 3, None),
        ("Internal error encountered.", 13, "INFRA"),
        ("something", 14, "INFRA"),
        ("something that nobody has seen", 3, None),
    ],
)
def test_errors(message, code, cause):
    found = state_of(a_job("FAILED", message, code))
    assert (found.phase, found.cause) == ("failed", cause)
    assert found.message == message
    if cause not in (None, "INFRA", "PREEMPTED"):
        assert found.remedy


@pytest.mark.parametrize("state", ["CANCELLED", "FAILED", "EXPIRED"])
def test_a_job_that_took_all_of_its_time_was_too_slow_however_it_ended(state):
    found = state_of(a_job(state, timeout=60.0))
    assert found.cause == "TIMEOUT"
    assert "max_running_time=" in (found.remedy or "")


def test_a_job_that_waited_in_vain_never_began():
    found = state_of(a_job("EXPIRED", started=None, ended=BEGUN, timeout=60.0))
    assert found.cause == "UNSCHEDULABLE"
    assert "max_wait=" in (found.remedy or "")
