"""A server that a peer's workload talks to, alive for the length of one case."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from _process import ProcessFailedError, clean_environment

_START_TIMEOUT = 120.0
_STOP_TIMEOUT = 15.0


@dataclass(frozen=True)
class Service:
    """How to start a server, and the URL that answers once it serves."""

    command: Sequence[str]
    url: str
    #: Seconds it is left alone for before the first stage.
    settle: float = 5.0
    #: Seconds it is left alone for between stages, so that what it still does in the background for
    #: one is not charged to the next. Prefect's server records about twenty steps a second.
    drain: float = 30.0


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(service: Service, cwd: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Keep a server up; it leads its own session, which ends with it.

    Raises:
        ProcessFailedError: it ended, or did not answer in time.
    """
    process = subprocess.Popen(
        list(service.command),
        cwd=cwd,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(process, service)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], service: Service) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ProcessFailedError(f"{service.command[0]} ended with code {process.returncode}")
        if _answers(service.url):
            return
        time.sleep(0.2)
    raise ProcessFailedError(f"{service.url} did not answer within {_START_TIMEOUT:.0f} s")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
