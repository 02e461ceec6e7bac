"""How a job stands: from what is said of its machine, and what the machine has said."""

from __future__ import annotations

from typing import Any

import pytest

from zenml.gcp._compute import Operation, Place
from zenml.gcp._instance import deletion_id, mark_of, request_id
from zenml.gcp._states import state_of_gone, state_of_present, state_of_stopped

PLACE = Place("p", "z", "n", "1", "zenml-2026-1", "ab" * 32)
MARK = f"zenml-vm[{mark_of(PLACE.digest)}]"


def operation(kind: str, **changes: Any) -> Operation:
    told = {"request": "", "user": "me@example.com", "done": True, "errors": ()}
    return Operation(kind, **{**told, **changes})


INSERTED = operation("insert")
CANCELLED, TIDIED = (
    operation("delete", request=deletion_id(PLACE.job, PLACE.digest, what))
    for what in ("cancel", "cleanup")
)


@pytest.mark.parametrize(
    ("status", "said", "phase", "cause"),
    [
        ("PROVISIONING", "", "pending", None),
        ("STAGING", "", "pending", None),
        ("RUNNING", "", "pending", None),
        ("RUNNING", f"{MARK} preparing pulls i\n", "pending", None),
        ("RUNNING", f"{MARK} preparing pulls i\n{MARK} started\n", "running", None),
        ("RUNNING", "the end of a long log\n", "running", None),
        ("RUNNING", f"{MARK} started\nhello\n{MARK} ended 0\n", "succeeded", None),
        ("RUNNING", f"{MARK} started\r\nhello\r\n{MARK} ended 0\r\n", "succeeded", None),
        ("RUNNING", f"{MARK} ended 3\n", "failed", None),
        ("RUNNING", f"{MARK} failed IMAGE not found\n", "failed", "IMAGE"),
        ("RUNNING", f"{MARK} failed CONFIG no docker\n", "failed", "CONFIG"),
        ("RUNNING", f"{MARK} ended 0\n{MARK} cannot delete this machine\n", "succeeded", None),
        # What somebody else writes is a line like others.
        ("RUNNING", "zenml-vm[000000000000] ended 0\n", "running", None),
        ("RUNNING", f"look: {MARK} ended 0\n", "running", None),
    ],
)
def test_a_machine_that_is_there(status: str, said: str, phase: str, cause: Any) -> None:
    state = state_of_present(status, PLACE, said)
    assert (state.phase, state.cause) == (phase, cause)


def test_the_words_of_the_machine_are_passed_on() -> None:
    state = state_of_present("RUNNING", PLACE, f"{MARK} failed IMAGE manifest unknown\n")
    assert state.message == "manifest unknown"
    assert "image=" in (state.remedy or "")


@pytest.mark.parametrize(
    ("status", "said", "operations", "phase", "cause"),
    [
        ("STOPPING", f"{MARK} started\n", [INSERTED], "running", None),
        ("STOPPING", f"{MARK} ended 0\n", [INSERTED], "succeeded", None),
        ("STOPPING", f"{MARK} started\n", [INSERTED, operation("stop")], "running", "CANCELLED"),
        (
            "STOPPING",
            f"{MARK} ended 143\n",
            [INSERTED, operation("compute.instances.preempted")],
            "failed",
            "PREEMPTED",
        ),
        ("STOPPING", f"{MARK} ended 137\n", [INSERTED, operation("stop")], "failed", "CANCELLED"),
        ("TERMINATED", "", [INSERTED, operation("stop")], "failed", "CANCELLED"),
        ("STOPPING", f"{MARK} started\n", [INSERTED, CANCELLED], "running", None),
        ("STOPPING", f"{MARK} started\n", [INSERTED, TIDIED], "gone", None),
        ("TERMINATED", "", [INSERTED], "failed", None),
    ],
)
def test_a_machine_that_is_switched_off(
    status: str, said: str, operations: Any, phase: str, cause: Any
) -> None:
    state = state_of_stopped(status, PLACE, said, operations)
    assert (state.phase, state.cause) == (phase, cause)


def failed(code: str) -> Operation:
    return operation("insert", errors=((code, "in so many words"),))


@pytest.mark.parametrize(
    ("operations", "phase", "cause"),
    [
        ([], "gone", None),
        ([INSERTED], "gone", None),
        ([operation("insert", done=False)], "pending", None),
        ([failed("ZONE_RESOURCE_POOL_EXHAUSTED")], "failed", "UNSCHEDULABLE"),
        ([failed("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS")], "failed", "UNSCHEDULABLE"),
        ([failed("QUOTA_EXCEEDED")], "failed", "UNSCHEDULABLE"),
        ([failed("INTERNAL_ERROR")], "failed", "INFRA"),
        ([failed("RESOURCE_NOT_FOUND")], "failed", "CONFIG"),
        ([INSERTED, operation("compute.instances.preempted")], "failed", "PREEMPTED"),
        (
            [
                INSERTED,
                operation("compute.instances.preempted"),
                operation("delete", user="system@google.com"),
            ],
            "failed",
            "PREEMPTED",
        ),
        ([INSERTED, operation("compute.instances.hostError")], "failed", "INFRA"),
        ([INSERTED, operation("delete", user="system@google.com")], "gone", None),
        ([INSERTED, operation("delete", request="another")], "failed", "CANCELLED"),
        (
            [INSERTED, operation("delete", request=deletion_id(PLACE.job, PLACE.digest, "cancel"))],
            "gone",
            None,
        ),
        (
            [INSERTED, operation("delete", request=request_id(PLACE.job, PLACE.digest, "ENDED"))],
            "gone",
            None,
        ),
        (
            [INSERTED, operation("delete", request=request_id(PLACE.job, PLACE.digest, "IMAGE"))],
            "failed",
            "IMAGE",
        ),
    ],
)
def test_a_machine_that_is_not_there(operations: Any, phase: str, cause: Any) -> None:
    state = state_of_gone(PLACE, operations)
    assert (state.phase, state.cause) == (phase, cause)


def test_a_machine_that_could_not_be_had_says_what_to_do() -> None:
    state = state_of_gone(PLACE, [failed("ZONE_RESOURCE_POOL_EXHAUSTED")])
    assert "in so many words" in state.message
    for words in ("zone=", "retries="):
        assert words in str(state.remedy)
