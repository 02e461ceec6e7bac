"""The supervisor: runs the child, writes its log and signs of life, and how it all ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from zenml.core._canonical import canonical
from zenml.core._clock import now
from zenml.core.contracts._job import Cause, Failure
from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import StoreError, ZenMLError
from zenml.core.jobs import cancel_requested
from zenml.core.jobs._log import ChunkedLog, Redactor
from zenml.core.jobs._task import (
    EXIT_CODES,
    PROTOCOL,
    JobOutcome,
    Task,
    exit_code,
    read_outcome,
    read_task,
    write_outcome,
)
from zenml.core.runner._child import UNTOLD, Report
from zenml.core.runner._start import Started
from zenml.core.stores._open import open_store

__all__ = ["supervise"]

#: Seconds between signs of life.
HEARTBEAT = 10.0


def supervise(store_url: str, folder: str, digest: str, started: Started) -> int:
    """Run one attempt at a task to its end; returns the exit code.

    Args:
        store_url: The artifact store.
        folder: Where everything about the attempt is.
        digest: Of the task.
        started: The child, which waits for the task.
    """
    begun = time.monotonic()
    try:
        store = open_store(store_url)
        raw = read_task(store, f"{folder}/task.json", digest)
    except ZenMLError as error:
        started.give_up()
        print(f"the task cannot be read: {error}", file=sys.stderr, flush=True)
        return EXIT_CODES["CONFIG"]
    attempt = int(folder.rpartition("/")[2])
    earlier = read_outcome(store, folder)
    if earlier is not None:  # the service started one attempt twice: the first one counts
        started.give_up()
        return exit_code(earlier)
    outcome = _Supervisor(store, folder, attempt, begun, started).run(raw)
    return exit_code(outcome)


class _Supervisor:
    def __init__(
        self, store: ArtifactStore, folder: str, attempt: int, begun: float, started: Started
    ) -> None:
        self.store = store
        self.folder = folder
        self.attempt = attempt
        self.begun = begun
        self.log = ChunkedLog(store, folder, Redactor(os.environ))
        self._ended = threading.Event()
        self._grace = 0.0
        self._stop: Cause | None = None
        self._started = started
        self._child = started.process

    def run(self, raw: dict[str, Any]) -> JobOutcome:
        unfit = _unfit(raw)
        if unfit is not None:
            self._started.give_up()
            self.log.write(f"error: {unfit}")
            return self._finish(Failure(cause="CONFIG", type="ProtocolError", message=unfit), None)
        task = msgspec.convert(raw, Task)
        self._grace = task.grace
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for early in self._started.stops:  # what came before we listened
            self._on_signal(early, None)
        pulse = threading.Thread(target=self._beat, args=(task,), daemon=True)
        pulse.start()
        with self._started.workspace:
            code = self._run_child(task)
            failure = self._failure(task, self._started.report, code)
        self._ended.set()
        pulse.join(timeout=5)
        return self._finish(failure, code)

    # -- the child -------------------------------------------------------------------------------

    def _run_child(self, task: Task) -> int:
        child = self._child
        reader = threading.Thread(target=self._read, args=(child,), daemon=True)
        reader.start()
        assert child.stdin is not None
        try:
            child.stdin.write(canonical(task))
            child.stdin.close()
        except BrokenPipeError:
            pass  # it died already; its exit code says how
        code = child.wait()
        # Something that the work left behind may hold the pipe open for ever.
        reader.join(timeout=2)
        self._kill_group(signal.SIGKILL)
        reader.join(timeout=5)
        return code

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            # The service keeps what we print, so that has to be free of secrets too.
            sys.stdout.write(self.log.write(line.decode("utf-8", "replace")))
            sys.stdout.flush()

    def _kill_group(self, number: int) -> None:
        try:
            os.killpg(self._child.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def _end_child(self, grace: float) -> None:
        """Ask the child to end; end it if it does not."""
        self._kill_group(signal.SIGTERM)

        def insist() -> None:
            if not self._ended.wait(grace):
                self._kill_group(signal.SIGKILL)

        threading.Thread(target=insist, daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """The machine is being taken away, or somebody cancelled the run."""
        if self._stop is None:
            self._stop = "PREEMPTED"
            self._end_child(self._grace)

    # -- signs of life ---------------------------------------------------------------------------

    def _beat(self, task: Task) -> None:
        last = -HEARTBEAT
        count = 0
        while not self._ended.wait(0.5):
            self.log.flush_if_old()
            elapsed = time.monotonic() - self.begun
            if task.timeout is not None and elapsed > task.timeout and self._stop is None:
                self._stop = "TIMEOUT"
                self._end_child(task.grace)
            if elapsed - last < HEARTBEAT:
                continue
            last = elapsed
            count += 1
            try:
                beat = {"at": now(), "count": count, "pid": os.getpid()}
                self.store.write(f"{self.folder}/alive.json", canonical(beat))
                cancelled = cancel_requested(self.store, task.run)
                # Another attempt may be doing the work by now.
                given_up = read_outcome(self.store, self.folder) is not None
            except StoreError:
                continue  # tried again with the next beat
            if (cancelled or given_up) and self._stop is None:
                self._stop = "CANCELLED" if cancelled else "LOST"
                self._end_child(task.grace)

    # -- the end ---------------------------------------------------------------------------------

    def _failure(self, task: Task, report: Path, code: int) -> Failure | None:
        """Why it failed, from all that is known: the child's word, signals, the machine."""
        try:
            told = msgspec.json.decode(report.read_bytes(), type=Report)
        except (OSError, msgspec.DecodeError):
            told = None
        if told is not None and told.failure is None:
            return None  # it was done before anything else happened
        if self._stop is not None:
            cause = self._stop
            if cause == "PREEMPTED" and self._was_cancelled(task):
                cause = "CANCELLED"
            words = {
                "PREEMPTED": "the machine asked the job to end before it was done",
                "CANCELLED": "the run was cancelled",
                "LOST": "whoever waited for the job has given it up",
                "TIMEOUT": f"the job did not end within {task.timeout} s",
            }
            return Failure(cause=cause, type="Stopped", message=words[cause])
        if told is not None:
            return told.failure
        if code == -signal.SIGKILL and _out_of_memory():
            words_ = "the work took more memory than it was given"
            return Failure(cause="OOM", type="OutOfMemory", message=words_)
        if code == UNTOLD:
            untold = "the work ended and could not say how; its log may"
            return Failure(cause="INFRA", type="Untold", message=untold)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        # Without a report the work did not come to an end of its own: os._exit, a crash, a kill.
        cause_: Cause = "INFRA" if code in (-signal.SIGKILL, -signal.SIGTERM) else "USER_ERROR"
        return Failure(cause=cause_, type="Died", message=f"the work ended its process with {how}")

    def _was_cancelled(self, task: Task) -> bool:
        try:
            return cancel_requested(self.store, task.run)
        except StoreError:
            return False

    def _finish(self, failure: Failure | None, code: int | None) -> JobOutcome:
        outcome = JobOutcome(
            status="succeeded" if failure is None else "failed",
            attempt=self.attempt,
            failure=failure,
            exit_code=code,
            finished=now(),
            seconds=round(time.monotonic() - self.begun, 3),
        )
        # The one thing that must not be lost: a store that fails for a while is waited for.
        delay = 0.5
        for _ in range(8):
            try:
                self.log.flush()
                return write_outcome(self.store, self.folder, outcome)
            except StoreError as error:
                print(f"the outcome cannot be written yet: {error}", file=sys.stderr, flush=True)
                threading.Event().wait(delay)
                delay *= 2
        return outcome


def _unfit(raw: dict[str, Any]) -> str | None:
    """Why this runner cannot do that task; None if it can."""
    if raw.get("protocol") == PROTOCOL:
        return None
    mine, theirs = metadata.version("zenml-core"), raw.get("core", "an unknown version")
    return (
        f"the client (zenml-core {theirs}) speaks protocol {raw.get('protocol')}, this environment "
        f"(zenml-core {mine}) speaks {PROTOCOL}; install zenml-core=={theirs} in the environment, "
        f"or zenml-core=={mine} where you start the run"
    )


def _out_of_memory() -> bool:
    """Whether the kernel has killed something in this control group for want of memory."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            for line in Path(path).read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill" and int(count) > 0:
                    return True
        except (OSError, ValueError):
            continue
    return False
