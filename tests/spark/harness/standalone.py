"""A standalone Spark cluster: a master and two workers of two cores each, real ones, on loopback.

Each has a folder of its own and any free port. They end with whoever started them, also if that is
killed, and with them the executors and all that these have started: see ``_keeper.py`` of the other
harness, which ends what it was told by process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Standalone"]

_KEEPER = Path(__file__).parents[2] / "services" / "harness" / "_keeper.py"

#: A JVM that starts in half the time, for it does little. Drivers have it by themselves.
_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"

#: Has a JVM write down the classes that Spark loads; the next one starts in half the time again.
_WRITE_CLASSES = """
import sys
from pyspark import SparkConf, SparkContext

conf = SparkConf().setMaster("local[2]").setAppName("classes").set("spark.ui.port", "0")
conf.set("spark.driver.host", "127.0.0.1").set("spark.driver.bindAddress", "127.0.0.1")
conf.set("spark.driver.extraJavaOptions", sys.argv[1])
context = SparkContext(conf=conf)
context.parallelize(range(8), 4).map(lambda n: n * n).sum()
jvm = context._gateway.proc
context.stop()
jvm.stdin.close()
jvm.wait(timeout=120)
"""

_T = TypeVar("_T")


class Standalone:
    """A cluster, from the beginning of the block to its end.

    Its workers have two of the machine's loopback addresses, so they are two hosts to Spark, which
    executes nothing twice on one.

    Args:
        folder: Where its logs and its applications' files go.
        workers: How many.
        python: The interpreter of the workers.

    Attributes:
        url: The master's URL.
        page: The URL of its page.
    """

    def __init__(self, folder: Path, workers: int = 2, python: str = sys.executable) -> None:
        self.folder = folder
        self.url = self.page = ""
        self._archive = folder / "spark.jsa"
        self._classes = f"-XX:SharedArchiveFile={self._archive}"
        self._count = workers
        self._python = python
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._write_classes()
            self._start_master()
            for number in range(1, self._count + 1):
                self._start_worker(number)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def options(self) -> dict[str, Any]:
        """Parameters of a backend on it: one core of each worker, so that two maps have room."""
        conf = {
            "spark.cores.max": "2",
            "spark.driver.extraJavaOptions": self._classes,
            "spark.driver.host": "127.0.0.1",
            "spark.executor.extraJavaOptions": f"{_JVM} {self._classes}",
        }
        return {"master": self.url, "python": self._python, "conf": conf}

    def restore(self) -> None:
        """Start the workers that were killed."""
        for number in range(1, self._count + 1):
            if f"worker-{number}" not in self._running:
                self._start_worker(number)

    def kill(self, name: str) -> None:
        """Kill ``master`` or ``worker-1`` with all that it has started, at once."""
        process = self._running.pop(name)
        assert process.stdin is not None
        process.stdin.write(b"9\n")
        process.stdin.close()
        process.wait(timeout=30)

    def executors(self) -> list[int]:
        """The ids of the processes that execute tasks' JVM side now."""
        return [pid for pid, line in self.processes() if "CoarseGrainedExecutorBackend" in line]

    def processes(self) -> list[tuple[int, str]]:
        """Ids and command lines of everything that the cluster has running."""
        found = []
        left = [process.pid for process in self._running.values()]
        while left:
            pid = left.pop()
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    left += map(int, (task / "children").read_text().split())
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((pid, line))
        return found

    def applications(self) -> list[dict[str, Any]]:
        """The applications that run or wait."""
        told = json.loads(_page(f"{self.page}/json/"))
        return [app for app in told["activeapps"] if app["state"] in ("RUNNING", "WAITING")]

    def kill_application(self, app_id: str) -> None:
        """What the button on the master's page does."""
        _press(self.page, "app/kill/", id=app_id, terminate="true")

    def kill_job(self, app_id: str) -> None:
        """What the button on the page of an application's job does; it has one job."""
        page = _page(f"{self.page}/app/?appId={app_id}")
        place = next(part for part in page.split('"') if re.match(r"http://[\w.]+:\d+/?$", part))
        _press(f"{place.rstrip('/')}/jobs", "job/kill/", id="0")

    def stop(self) -> None:
        """End all of it."""
        for name in [*self._running]:
            with contextlib.suppress(OSError):
                self.kill(name)
        shutil.rmtree(self.folder / "local", ignore_errors=True)
        self._archive.unlink(missing_ok=True)  # it is large

    def _write_classes(self) -> None:
        written = f"{_JVM} -XX:ArchiveClassesAtExit={self._archive}"
        done = subprocess.run(
            [self._python, "-c", _WRITE_CLASSES, written],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if not self._archive.exists():
            raise RuntimeError(f"{done.stdout}{done.stderr}"[-4000:])

    def _start_master(self) -> None:
        address = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        self._start("master", "127.0.0.1", "master.Master", *address)
        self.url = self._wait_for_log("master", r"Starting Spark master at (spark://\S+)")
        self.page = self._wait_for_log("master", r"MasterWebUI.* started at (http://\S+)")

    def _start_worker(self, number: int) -> None:
        """Start a worker, and wait until the master knows it."""
        host = f"127.0.0.{number}"
        address = ["--host", host, "--port", "0", "--webui-port", "0"]
        place = ["--work-dir", str(self.folder / f"work-{number}")]
        size = ["--cores", "2", "--memory", "2G"]
        self._log(f"worker-{number}").unlink(missing_ok=True)
        self._start(f"worker-{number}", host, "worker.Worker", *address, *place, *size, self.url)
        self._wait_for_log(f"worker-{number}", r"Successfully registered with master")

    def _start(self, name: str, host: str, what: str, *arguments: str) -> None:
        spec = find_spec("pyspark")
        assert spec is not None
        assert spec.origin is not None
        home = Path(spec.origin).parent
        variables = {
            "HOME": str(self.folder),
            "PATH": os.environ["PATH"],
            "PYSPARK_PYTHON": self._python,
            "PYTHONHASHSEED": "0",
            "SPARK_DAEMON_JAVA_OPTS": f"{_JVM} {self._classes}",
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_HOME": str(home),
            "SPARK_LAUNCHER_OPTS": _JVM,
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_LOCAL_IP": host,
            "SPARK_LOG_DIR": str(self.folder),
        }
        if "JAVA_HOME" in os.environ:
            variables["JAVA_HOME"] = os.environ["JAVA_HOME"]
        command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{what}"]
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), *command, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
            )
        self._running[name] = process
        assert process.stdin is not None
        process.stdin.write(json.dumps(variables).encode() + b"\n")
        process.stdin.flush()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _wait_for_log(self, name: str, pattern: str, seconds: float = 90) -> str:
        """The pattern's group, or all of it, as soon as the log has it."""

        def look() -> str | None:
            found = re.search(pattern, self._log(name).read_text(errors="replace"))
            if found is None and self._running[name].poll() is not None:
                raise RuntimeError(self._log(name).read_text(errors="replace")[-4000:])
            return None if found is None else found[found.re.groups and 1]

        return _wait(look, seconds, f"{pattern!r} in the log of {name}")


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        text: str = answer.read().decode()
    return text


def _press(page: str, button: str, **fields: str) -> None:
    """Send the form of a button, with the token that Spark's page has put into it."""
    found = re.search(r'name="csrfToken" value="(\w+)"', _page(f"{page}/"))
    token = {"csrfToken": found[1]} if found else {}
    data = urllib.parse.urlencode({**fields, **token}).encode()
    urllib.request.urlopen(f"{page}/{button}", data=data, timeout=10).close()  # noqa: S310


def _wait(look: Callable[[], _T | None], seconds: float, what: str) -> _T:
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {seconds:g} seconds")
        time.sleep(0.05)
    return found
