"""One attempt at a Beam pipeline: Prism gives the work out, and real SDK workers do it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_job_api_pb2,
    beam_job_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)

from harness import remote
from harness.prism import prism

__all__ = ["Attempt", "Outcome"]

_State = beam_job_api_pb2.JobState
_Importance = beam_job_api_pb2.JobMessage.MessageImportance

#: Seconds after a worker's end in which its job may still be heard to be done, and after a job's in
#: which a worker may be seen to have ended.
_LATE = 1.0


@dataclass
class Outcome:
    """How an attempt ended.

    Attributes:
        how: ``done``, ``failed``, ``disconnected`` (a worker has died) or ``stopped``.
        said: What the workers said of it.
        counters: The pipeline's own, by name.
    """

    how: str
    said: list[str] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)


class Attempt:
    """Executes a pipeline, with workers in a clean environment.

    Args:
        pipeline: As it was staged.
        options: Of the pipeline, for the workers.
        environment: What the workers' image holds.
        variables: All variables that a worker has, beside those that its image sets.
        folder: Where it may leave files.
        log: What everything prints is appended to.
    """

    def __init__(
        self,
        pipeline: beam_runner_api_pb2.Pipeline,
        options: Mapping[str, Any],
        environment: remote.Environment,
        variables: Mapping[str, str],
        folder: Path,
        log: Path,
    ) -> None:
        self._pipeline = beam_runner_api_pb2.Pipeline()
        self._pipeline.CopyFrom(pipeline)
        self._environment = environment
        self._variables = dict(variables)
        self._folder = folder
        self._log = log
        self._options = folder / "options.json"
        self._options.write_text(json.dumps({"options": dict(options)}))
        self.workers: dict[str, remote.Process] = {}
        self._said: list[str] = []
        self._ended: int | None = None
        self._died = False
        self._change = threading.Condition()

    def run(self, stop: threading.Event) -> Outcome:
        """See it through, or until ``stop``; nothing of it is left then."""
        with ExitStack() as opened:
            opened.callback(self._end_workers)
            pool = grpc.server(ThreadPoolExecutor(4))
            beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(_Pool(self), pool)
            port = pool.add_insecure_port("127.0.0.1:0")
            pool.start()
            opened.callback(lambda: pool.stop(None).wait())
            self._send_to(f"127.0.0.1:{port}")
            job_port = _free_port()
            command = [prism(), "--job_port", str(job_port), "--serve_http=false"]
            runner = remote.start(command, {}, cwd=self._folder, output=self._log)
            opened.callback(runner.kill)
            channel = opened.enter_context(grpc.insecure_channel(f"127.0.0.1:{job_port}"))
            grpc.channel_ready_future(channel).result(timeout=60)
            return self._follow(beam_job_api_pb2_grpc.JobServiceStub(channel), stop)

    def _send_to(self, pool: str) -> None:
        """Have the work done by workers of that pool, whatever image they were to be in."""
        address = endpoints_pb2.ApiServiceDescriptor(url=pool)
        for environment in self._pipeline.components.environments.values():
            environment.urn = "beam:env:external:v1"
            payload = beam_runner_api_pb2.ExternalPayload(endpoint=address)
            environment.payload = payload.SerializeToString()
            del environment.dependencies[:]

    def _follow(self, jobs: Any, stop: threading.Event) -> Outcome:
        asked = beam_job_api_pb2.PrepareJobRequest(pipeline=self._pipeline, job_name="job")
        prepared = jobs.Prepare(asked)
        job = jobs.Run(
            beam_job_api_pb2.RunJobRequest(preparation_id=prepared.preparation_id)
        ).job_id
        stream = jobs.GetMessageStream(beam_job_api_pb2.JobMessagesRequest(job_id=job))
        listening = threading.Thread(target=self._listen, args=(stream,), daemon=True)
        listening.start()
        try:
            how = self._wait(stop)
            counters = self._counters(jobs, job) if how == "done" else {}
            return Outcome(how, self._said, counters)
        finally:
            stream.cancel()
            listening.join()

    def _wait(self, stop: threading.Event) -> str:
        since = 0.0
        while True:
            with self._change:
                self._change.wait(0.05)
                ended = self._ended
            if stop.is_set():
                return "stopped"
            if ended == _State.DONE:
                return "done"
            # A copy: Prism asks for workers, and lets them go, meanwhile.
            self._died |= any(one.poll() is not None for one in [*self.workers.values()])
            if self._died or ended is not None:
                since = since or time.monotonic()
                if time.monotonic() - since > _LATE:
                    return "disconnected" if self._died else "failed"

    def _listen(self, stream: Any) -> None:
        try:
            for message in stream:
                with self._change:
                    if message.HasField("state_response"):
                        state = message.state_response.state
                        if state in (_State.DONE, _State.FAILED, _State.CANCELLED):
                            self._ended = state
                    elif message.message_response.importance >= _Importance.JOB_MESSAGE_WARNING:
                        self._said.append(message.message_response.message_text)
                    self._change.notify_all()
        except grpc.RpcError:
            with self._change:
                self._ended = self._ended or _State.FAILED

    def _counters(self, jobs: Any, job: str) -> dict[str, int]:
        found = jobs.GetJobMetrics(beam_job_api_pb2.GetJobMetricsRequest(job_id=job)).metrics
        counters: dict[str, int] = {}
        for metric in found.attempted:
            if metric.urn == "beam:metric:user:sum_int64:v1":
                counters[metric.labels["NAME"]] = _varint(metric.payload)
        return counters

    def start_worker(self, asked: beam_fn_api_pb2.StartWorkerRequest) -> None:
        """Start a worker as the first process of Beam's containers does."""
        home = self._folder / asked.worker_id
        home.mkdir()
        told = {
            **self._variables,
            "HOME": str(home),
            "TMPDIR": str(home),
            "PATH": f"{self._environment.bin}:/usr/local/bin:/usr/bin:/bin",
            "WORKER_ID": asked.worker_id,
            "PIPELINE_OPTIONS_FILE": str(self._options),
            "SEMI_PERSISTENT_DIRECTORY": str(home),
            "LOGGING_API_SERVICE_DESCRIPTOR": str(asked.logging_endpoint),
            "CONTROL_API_SERVICE_DESCRIPTOR": str(asked.control_endpoint),
        }
        command = [self._environment.python, "-m", "apache_beam.runners.worker.sdk_worker_main"]
        self.workers[asked.worker_id] = remote.start(command, told, cwd=home, output=self._log)

    def stop_worker(self, name: str) -> None:
        """End a worker; one that is unknown has ended."""
        worker = self.workers.get(name)
        if worker is None:
            return
        # Prism lets go of one whose connection breaks, before it can be seen that it has died.
        deadline = time.monotonic() + _LATE
        while worker.poll() is None and self._ended != _State.DONE and time.monotonic() < deadline:
            time.sleep(0.01)
        self._died |= worker.poll() is not None
        self._end_worker(name)

    def _end_worker(self, name: str) -> None:
        worker = self.workers.pop(name, None)
        if worker is not None:
            worker.kill()

    def _end_workers(self) -> None:
        for name in [*self.workers]:
            self._end_worker(name)


class _Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]
    """Starts workers where the runner asks for them."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def StartWorker(self, request: Any, _: Any) -> Any:  # noqa: N802
        self._attempt.start_worker(request)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, _: Any) -> Any:  # noqa: N802
        self._attempt.stop_worker(request.worker_id)
        return beam_fn_api_pb2.StopWorkerResponse()


def _varint(data: bytes) -> int:
    return sum((byte & 127) << (7 * place) for place, byte in enumerate(data))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
