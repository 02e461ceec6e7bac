"""A small project whose pipeline runs in a process of its own, as a remote service would run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import os
import sys
import time
from pathlib import Path

from helper import twice
from zenml.local import OrchestratorSubprocessBackend, TrainingSubprocessBackend
from zenml.pipelines import Pipeline, step


@step
def number(value: int) -> int:
    print("number", value, flush=True)
    return twice(value)


@step
def work(output: int, how: str, marker: str) -> int:
    print("work", how, os.environ.get("DEMO_TOKEN", ""), flush=True)
    Path(marker).touch()
    if how == "raise":
        raise ValueError("no good: \\u00fc")
    if how == "memory":
        raise MemoryError("too much")
    if how == "exit":
        os._exit(3)
    if how == "sleep":
        time.sleep(600)
    return output + 1


@step(kind="training")
def train(output: int) -> int:
    print("training in", os.getpid(), flush=True)
    return output + 1


if __name__ == "__main__":
    how, jobs, marker, *options = sys.argv[1:]
    arguments = dict(option.split("=") for option in options)
    numbers = {name: float(value) for name, value in arguments.items() if name != "detach"}
    pipeline = Pipeline(name="a job \\u00fc")
    pipeline.add_step(number(value=4), name="number")
    pipeline.add_step(work(how=how, marker=marker), name="work", inputs={"output": "number"})
    pipeline.add_step(train(), name="train", inputs={"output": "work"})
    subprocess = OrchestratorSubprocessBackend(work_folder=jobs, retry_delay=0.1, **numbers)
    trainer = TrainingSubprocessBackend(work_folder=jobs)
    run = pipeline.run(
        subprocess, backends={"training": trainer}, detach="detach" in arguments
    )
    print("RUN", run.id)
"""


class Project:
    """The project's folder, and what a user does in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project with spaces"
        self.folder.mkdir()
        self.marker = folder / "marker"
        self.jobs = folder / "jobs"
        (self.folder / "train.py").write_text(SCRIPT, encoding="utf-8")
        (self.folder / "helper.py").write_text("def twice(value):\n    return 2 * value\n")
        self.environment = {**os.environ, "DEMO_TOKEN": "not-to-be-seen-anywhere"}

    def start(self, how: str, *options: str) -> subprocess.Popen[str]:
        """Start the script; the caller waits for it."""
        return subprocess.Popen(
            [sys.executable, "train.py", how, str(self.jobs), str(self.marker), *options],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, how: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the script to its end."""
        process = self.start(how, *options)
        output, errors = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def zenml(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            [sys.executable, "-m", "_zenml_main", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def last(self) -> Any:
        """The latest run, as ``zenml run show`` tells it."""
        return json.loads(self.zenml("run", "show", "last", "--json").stdout)

    def runners(self) -> list[int]:
        """Process ids of supervisors and children that work for this project's store."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode().split("\0")
                except OSError:
                    continue
                if "zenml.core.runner" in words and any(
                    self.folder.as_uri() in word for word in words
                ):
                    found.append(int(entry.name))
        return sorted(found)

    def wait_until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait until a condition holds; returns what it gave."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {condition}")

    def close(self) -> None:
        """End whatever a failed test has left."""
        for pid in self.runners():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()
