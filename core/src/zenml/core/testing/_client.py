"""A client in a process of its own: ``python -m zenml.core.testing._client JSON``.

It stands for another machine: all that it is given is the backend's class and parameters, the
store's URL, and plain data.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from zenml.core.contracts._job import Handle, Job, JobBackend
from zenml.core.engine._as_job import attach, job_from_store
from zenml.core.errors import RunError
from zenml.core.jobs import job_folders, request_cancel
from zenml.core.plugins._registry import get_registry
from zenml.core.sources import load
from zenml.core.testing._job_bench import JobBench
from zenml.core.testing._user_project import UserProject

__all__: list[str] = []


class _Client:
    def __init__(self, told: dict[str, Any]) -> None:
        sys.path[:] = told["path"]
        self.project = UserProject(Path(told["folder"]))
        self.bench = JobBench(told["kind"], self.project, told["store"], patience=120)
        self.backend: JobBackend = load(told["backend"])(**told["parameters"])

    def run(self, how: str, marks: str, *, skew: float = 0.0) -> Any:
        """Run the pipeline; returns its sum."""
        if skew:
            real = time.time
            time.time = lambda: real() + skew
        return self.bench.run(self.backend, how, marks).load("sum")

    def detach(self, how: str, marks: str) -> Any:
        """Start the pipeline and leave; returns the run's id."""
        made = self.bench.pipeline(how, marks)
        return made.run(
            backends=self.bench.backends(self.backend),
            artifact_store=self.bench.store,
            progress=False,
            detach=True,
        ).id

    def wait(self, run: str) -> Any:
        """Wait for somebody's run."""
        attach(self.bench.store, get_registry(), run)
        return None

    def cancel(self, run: str) -> Any:
        """End somebody's run."""
        request_cancel(self.bench.store, run)
        for folder in job_folders(self.bench.store, run):
            job_from_store(self.bench.store, get_registry(), folder).cancel(5.0)
        return None

    def submit(self, job: dict[str, Any]) -> Any:
        """Submit a job; returns its handle."""
        return msgspec.to_builtins(self.bench.submit(self.backend, msgspec.convert(job, Job)))

    def look(self, handle: dict[str, Any]) -> Any:
        """How somebody's job stands."""
        return msgspec.to_builtins(self.bench.poll(self.backend, msgspec.convert(handle, Handle)))

    def end(self, handle: dict[str, Any]) -> Any:
        """Cancel somebody's job by its handle, and see it end."""
        found = msgspec.convert(handle, Handle)
        self.bench.cancel(self.backend, found, 5.0)
        return msgspec.to_builtins(self.bench.end_of(self.backend, found))


def _main() -> int:
    # A background process of a script ignores Ctrl-C, and passes that on to what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    told = json.loads(sys.argv[1])
    client = _Client(told)
    with client.project:
        try:
            said = getattr(client, told["do"])(**told["arguments"])
        except RunError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
