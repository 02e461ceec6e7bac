"""An application, as the client has it: the driver's process, what is said to it, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing_extensions import Self

    from zenml.spark.processing import ProcessingSparkBackend

__all__ = ["Application", "is_local"]

#: What would make PySpark use a session that somebody else has.
_ELSEWHERE: Final = (
    "PYSPARK_GATEWAY_PORT",
    "PYSPARK_GATEWAY_SECRET",
    "PYSPARK_SUBMIT_ARGS",
    "SPARK_CONNECT_MODE_ENABLED",
    "SPARK_LOCAL_REMOTE",
    "SPARK_REMOTE",
)

#: Seconds that a driver may take to end; it takes no more than ten by itself.
_END_WITHIN: Final = 15.0


def is_local(master: str) -> bool:
    """Whether a master's workers are on this machine, and see its folders."""
    return master.startswith("local")


class Application:
    """A driver that was started, until the block is left: then it ends, with all that it has.

    Args:
        backend: What the application is like.
        name: What Spark calls it.
    """

    def __init__(self, backend: ProcessingSparkBackend, name: str) -> None:
        local = is_local(backend.master)
        secret_conf = {key: place.resolve() for key, place in backend.secret_conf.items()}
        self._scratch = tempfile.mkdtemp(prefix="zenml-spark-")
        conf = {
            **({"spark.driver.host": "127.0.0.1"} if local else {}),
            **({"spark.driver.bindAddress": "127.0.0.1"} if local else {}),
            **({"spark.ui.enabled": "false"} if local else {}),
            "spark.ui.showConsoleProgress": "false",
            **backend.conf,
            "spark.app.name": name,
            "spark.master": _with_failures(backend),
            "spark.task.maxFailures": str(backend.max_failures),
        }
        variables = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
        variables["SPARK_LOCAL_DIRS"] = self._scratch
        python = backend.python or (sys.executable if local else None)
        if python is not None:
            variables["PYSPARK_PYTHON"] = python
        # Exactly our path and arguments, so that modules are found and see what they would here.
        code = (
            f"import sys; sys.path[:] = {[*map(str, sys.path)]!r}; "
            "from zenml.spark._driver import main; main()"
        )
        self._unread = b""
        self._open = True
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a fixed command
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables,
            # Ctrl-C in a terminal reaches the client, which ends this, and says why once.
            start_new_session=True,
        )
        told = {"conf": conf, "secret_conf": secret_conf, "scratch": self._scratch}
        self.tell({**told, "local": local})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def exit_code(self) -> int:
        """The driver's exit code, once ``events`` has said that there will be no more."""
        return self._process.wait()

    def tell(self, words: dict[str, Any]) -> None:
        """Say something to the driver; one that has ended hears nothing."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(words).encode() + b"\n")
            self._process.stdin.flush()

    def events(self, seconds: float) -> list[dict[str, Any]] | None:
        """What the driver has said since it was asked last; waits so long if that is nothing.

        Returns:
            None if the driver has ended, and everything that it said was given.
        """
        assert self._process.stdout is not None
        stdout, deadline = self._process.stdout.fileno(), time.monotonic() + seconds
        lines: list[bytes] = []
        while self._open and not lines:
            left = deadline - time.monotonic()
            # Not select(): the client may have more files open than that can count.
            poll = select.poll()
            poll.register(stdout, select.POLLIN)
            if not poll.poll(max(left, 0) * 1000):
                break
            data = os.read(stdout, 65536)
            self._open = bool(data)
            *lines, self._unread = (self._unread + data).split(b"\n")
        if not lines and not self._open:
            return None
        return [json.loads(line) for line in lines]

    def _end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(timeout=_END_WITHIN)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # The JVM too, if the driver could not end it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            shutil.rmtree(self._scratch, ignore_errors=True)


def _with_failures(backend: ProcessingSparkBackend) -> str:
    """The master; on this machine Spark tries nothing again if that does not say so."""
    if not is_local(backend.master):
        return backend.master
    workers = backend.master[5:].strip("[]") or "1"
    return f"local[{workers},{backend.max_failures}]"
