"""Clients of the conformance suites that do not end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zenml.core.testing._user_project import said_by

WAITS = """
import threading

def waits_for_ever():
    threading.Event().wait()

print("begun", flush=True)
waits_for_ever()
"""

LEAVES_A_CHILD = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
"""


def start(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_what_a_client_said_is_returned() -> None:
    assert said_by(start("print(6 * 7)"), patience=60) == ("42\n", "")


def test_one_that_hangs_is_ended_and_says_where_it_stood() -> None:
    client = start(WAITS)
    assert client.stdout is not None
    client.stdout.readline()  # it has begun

    with pytest.raises(pytest.fail.Exception, match=r"did not end within 0\.1 seconds") as failure:
        said_by(client, patience=0.1)

    assert "waits_for_ever" in str(failure.value)
    assert client.poll() is not None


def test_what_one_leaves_behind_is_ended() -> None:
    client = start(LEAVES_A_CHILD)
    client.wait(60)

    with pytest.raises(pytest.fail.Exception, match="what it had started did not"):
        said_by(client, patience=0.1)
