"""Dataflow: a service that really executes the pipelines that Beam's own runner submits to it.

It speaks the REST protocol of version 1b3, and takes nothing that is not in Google's own messages.
A job's pipeline and packages are fetched from where they were staged. Its workers are processes on
this machine, in an environment that holds what their image holds and the staged packages, and
nothing of whoever submitted it. A worker that dies is followed by another one, and a bundle that
fails is tried again, four times in all; what is tried again here is the whole pipeline.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sys
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import apache_beam
import requests
from apache_beam.portability.api import beam_runner_api_pb2
from google.cloud.dataflow_v1beta3 import types
from google.protobuf import json_format

from harness import remote
from harness._beam_job import Attempt, Outcome
from harness._service import Refused, Service
from harness.gcs import GCSServer

__all__ = ["IMAGE", "SDK_IMAGE", "DataflowServer"]

#: Google's image for this version of Python and Beam, and one of a user's own.
SDK_IMAGE = (
    "gcr.io/cloud-dataflow/v1beta3/beam_python"
    f"{sys.version_info[0]}.{sys.version_info[1]}_sdk:{apache_beam.__version__}"
)
IMAGE = "europe-docker.pkg.dev/my-project/images/beam:1"

State = types.JobState
Importance = types.JobMessageImportance

#: How often a bundle is tried before its job fails.
_ATTEMPTS = 4

_ENDED = {State.JOB_STATE_DONE, State.JOB_STATE_FAILED, State.JOB_STATE_CANCELLED}

_JOBS = re.compile(r"projects/([^/]+)/locations/([^/]+)/jobs(?:/([^/]+))?(/messages|/metrics)?")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_LABEL = (re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}"))
_MACHINE = re.compile(r"[a-z][a-z0-9]*-[a-z0-9-]+")
_GPU = re.compile(r"worker_accelerator=type:([a-z0-9-]+);count:(\d+);install-nvidia-driver(:\S+)?")

#: What is in a request, and not filled in by the service.
_OUTPUT_ONLY = ("id", "current_state", "current_state_time", "create_time", "stage_states")


class _Job:
    """One job: what was asked for, how it stands, and what is done for it now."""

    def __init__(self, message: types.Job, folder: Path) -> None:
        self.message = message
        self.folder = folder
        self.log = folder / "log"
        self.stop = threading.Event()
        self.told_to: tuple[Any, str] | None = None
        self.attempt: Attempt | None = None
        self.attempts = 0
        self.messages: list[types.JobMessage] = []
        self.counters: dict[str, int] = {}

    def say(self, importance: Any, text: str) -> None:
        self.messages.append(
            types.JobMessage(
                id=f"{len(self.messages):012x}",
                time=_now(),
                message_text=text,
                message_importance=importance,
            )
        )

    def be(self, state: Any) -> None:
        self.message.current_state = state
        self.message.current_state_time = _now()


class DataflowServer(Service):
    """The service; use it as a context.

    Args:
        images: What workers may run in: the name of an image to the environment that it holds.
        storage: Where pipelines and packages are staged.
        environment: Variables of every worker: where the other services are.

    Attributes:
        without: Machine types of which there is none for now.
        quota: How many jobs there may be at once.
    """

    #: Beam's runner speaks REST with nothing else.
    host = "localhost"
    #: Suites look for what is left open in this process.
    protocol = "HTTP/1.0"

    def __init__(
        self,
        images: Mapping[str, remote.Environment],
        storage: GCSServer,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.images = dict(images)
        self.storage = storage
        self.environment = dict(environment or {})
        self.without: set[str] = set()
        self.quota = 1000
        self._jobs: dict[str, _Job] = {}
        self._installed: dict[str, remote.Environment] = {}
        self._installing = threading.Lock()

    def _stop(self) -> None:
        for job in self._jobs.values():
            job.stop.set()

    # -- what is done in the console, and by the cloud itself --------------------------------------

    def jobs(self, *, running: bool = False) -> list[types.Job]:
        """The jobs that there are, or those that have not ended."""
        with self._lock:
            found = [job.message for job in self._jobs.values()]
        return [one for one in found if not running or one.current_state not in _ENDED]

    def cancel(self, job: types.Job) -> None:
        """Cancel a job, as its owner may in the console."""
        with self._lock:
            self._end(self._jobs[job.id], State.JOB_STATE_CANCELLED, "Cancel request is committed")

    def fail(self, job: types.Job, message: str) -> None:
        """Have the service itself give a job up."""
        with self._lock:
            self._end(self._jobs[job.id], State.JOB_STATE_FAILED, message)

    def kill_worker(self, job: types.Job) -> None:
        """End the worker of a job, as a machine that goes away does."""
        with self._lock:
            attempt = self._jobs[job.id].attempt
        assert attempt is not None
        assert attempt.workers, "the job has no worker now"
        for worker in [*attempt.workers.values()]:
            worker.kill()

    def has_worker(self, job: types.Job) -> bool:
        """Whether a worker of a job is there now."""
        with self._lock:
            attempt = self._jobs[job.id].attempt
        return attempt is not None and bool(attempt.workers)

    def attempts(self, job: types.Job) -> int:
        """How often a job was tried."""
        return self._jobs[job.id].attempts

    def log_of(self, job: types.Job) -> str:
        """What the workers of a job have printed."""
        log = self._jobs[job.id].log
        return log.read_text(errors="replace") if log.exists() else ""

    def _end(self, job: _Job, state: Any, message: str) -> None:
        if job.told_to is None and job.message.current_state not in _ENDED:
            job.told_to = (state, message)
            if state == State.JOB_STATE_CANCELLED:
                job.be(State.JOB_STATE_CANCELLING)
            job.stop.set()

    # -- the API -----------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: str) -> dict[str, Any]:
        """See ``Service.answer``."""
        with self._lock:
            named = _JOBS.fullmatch(path.removeprefix("/v1b3/"))
            if named is None:
                raise Refused(404, "NOT_FOUND", f"there is no {method} {path}")
            project, location, number, further = named.groups()
            if number is None and method == "POST":
                return _as_json(self._create(project, location, body))
            if number is None and method == "GET":
                return self._list(project, location, query)
            job = self._jobs.get(number or "")
            if job is None or job.message.project_id != project:
                raise Refused(404, "NOT_FOUND", f"({number}): Information about job not found.")
            if method == "GET" and further == "/messages":
                return self._messages(job, query)
            if method == "GET" and further == "/metrics":
                return self._metrics(job)
            if method == "GET":
                return _as_json(job.message)
            if method == "PUT" and not further:
                return self._update(job, body)
            raise Refused(404, "NOT_FOUND", f"there is no {method} {path}")

    def _create(self, project: str, location: str, body: str) -> types.Job:
        message = _parsed(body)
        _check(project, message)
        for job in self._jobs.values():
            there = job.message
            if (there.project_id, there.location, there.name) == (project, location, message.name):
                # Asked twice for one job, or for another one of its name: the client can tell.
                if there.current_state not in _ENDED:
                    return there
                if there.client_request_id == message.client_request_id:
                    return there
        if len(self.jobs(running=True)) >= self.quota:
            raise Refused(
                429,
                "RESOURCE_EXHAUSTED",
                f"The project {project} cannot run any more jobs: it has {self.quota} running. "
                "Please ask for a quota increase.",
            )
        message.id = f"{_now():%Y-%m-%d_%H_%M_%S}-{secrets.randbelow(10**19)}"
        message.project_id, message.location = project, location
        message.create_time = _now()
        folder = Path(self._folder.name) / message.id
        folder.mkdir()
        job = _Job(message, folder)
        job.be(State.JOB_STATE_PENDING)
        self._jobs[message.id] = job
        thread = threading.Thread(target=self._carry, args=(job,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return types.Job(message)

    def _list(self, project: str, location: str, query: dict[str, str]) -> dict[str, Any]:
        _refuse_unknown(query, {"filter", "pageSize", "pageToken", "name", "view"})
        active = query.get("filter") in ("ACTIVE", str(int(types.ListJobsRequest.Filter.ACTIVE)))
        found = [
            job.message
            for job in self._jobs.values()
            if (job.message.project_id, job.message.location) == (project, location)
            and query.get("name") in (None, "", job.message.name)
            and not (active and job.message.current_state in _ENDED)
        ]
        # Without what only a look at one job gives.
        return {"jobs": [_as_json(_summary(one)) for one in found]}

    def _messages(self, job: _Job, query: dict[str, str]) -> dict[str, Any]:
        known = {"minimumImportance", "pageSize", "pageToken", "startTime", "endTime"}
        _refuse_unknown(query, known)
        asked = query.get("minimumImportance", "0")
        least = Importance(int(asked)) if asked.isdigit() else Importance[asked]
        order = [1, 2, 5, 3, 4]  # of importance: the enum's numbers are in another one
        rank = order.index(least) if least else -1
        begin, size = int(query.get("pageToken") or 0), int(query.get("pageSize") or 100)
        found = [one for one in job.messages if order.index(one.message_importance) >= rank]
        page = [_as_json(one) for one in found[begin : begin + size]]
        more = {"nextPageToken": str(begin + size)} if len(found) > begin + size else {}
        return {"jobMessages": page, **more}

    def _metrics(self, job: _Job) -> dict[str, Any]:
        updates = [
            {
                "name": {
                    "origin": "user",
                    "name": name,
                    "context": {"namespace": "zenml", "step": "Execute", **tentative},
                },
                "scalar": value,
            }
            for name, value in job.counters.items()
            for tentative in ({}, {"tentative": "true"})
        ]
        return {"metrics": updates}

    def _update(self, job: _Job, body: str) -> dict[str, Any]:
        wanted = _parsed(body).requested_state
        if wanted not in (State.JOB_STATE_CANCELLED, State.JOB_STATE_DRAINING):
            raise Refused(400, "INVALID_ARGUMENT", f"a job cannot be made {wanted!r}")
        if job.message.current_state in _ENDED:
            message = f"({job.message.id}): The job is already in a terminal state."
            raise Refused(400, "FAILED_PRECONDITION", message)
        job.message.requested_state = wanted
        self._end(job, State.JOB_STATE_CANCELLED, "Cancel request is committed")
        return _as_json(job.message)

    # -- running -----------------------------------------------------------------------------------

    def _carry(self, job: _Job) -> None:
        """See a job through its states."""
        try:
            state = self._run(job)
        except Exception as problem:  # noqa: BLE001 - the service goes on, and says so
            with self._lock:
                job.say(Importance.JOB_MESSAGE_ERROR, f"Internal error: {problem!r}")
            state = State.JOB_STATE_FAILED
        with self._lock:
            if job.told_to is not None:
                state, message = job.told_to
                failed = state == State.JOB_STATE_FAILED
                job.say(Importance[f"JOB_MESSAGE_{'ERROR' if failed else 'BASIC'}"], message)
            job.attempt = None
            job.be(state)

    def _run(self, job: _Job) -> Any:
        pool = job.message.environment.worker_pools[0]
        with self._lock:
            job.say(Importance.JOB_MESSAGE_BASIC, f"Starting 1 workers in {pool.machine_type}...")
        if pool.machine_type in self.without:
            return self._fails(
                job,
                "Startup of the worker pool in zone europe-west1-b failed to bring up any of the "
                "desired 1 workers. ZONE_RESOURCE_POOL_EXHAUSTED: The zone does not have enough "
                "resources available to fulfill the request.",
            )
        pipeline, environment = self._staged(job)
        if environment is None:
            return self._fails(
                job,
                "The worker's container image could not be pulled: Error syncing pod, "
                f"ErrImagePull: {pool.worker_harness_container_image}: not found",
            )
        with self._lock:
            if job.stop.is_set():
                return State.JOB_STATE_CANCELLED
            job.be(State.JOB_STATE_RUNNING)
            job.message.start_time = _now()
        options = _whole(
            json_format.MessageToDict(_pb(job.message).environment.sdk_pipeline_options)
        )
        outcome = Outcome("failed")
        while job.attempts < _ATTEMPTS and not job.stop.is_set():
            folder = job.folder / f"attempt-{job.attempts}"
            folder.mkdir()
            with self._lock:
                job.attempts += 1
                job.attempt = Attempt(
                    pipeline, options["options"], environment, self._variables(job), folder, job.log
                )
            outcome = job.attempt.run(job.stop)
            if outcome.how == "done":
                with self._lock:
                    job.counters = outcome.counters
                    job.say(Importance.JOB_MESSAGE_BASIC, "Worker pool stopped.")
                return State.JOB_STATE_DONE
            if outcome.how == "stopped":
                return State.JOB_STATE_CANCELLED
            with self._lock:
                for said in _worker_errors(outcome):
                    job.say(Importance.JOB_MESSAGE_ERROR, said)
        root = "SDK disconnect." if outcome.how == "disconnected" else "see the errors above"
        return self._fails(
            job,
            "Workflow failed. Causes: S01:Spread+Execute failed., The job failed because a work "
            f"item has failed {_ATTEMPTS} times. Look in previous log entries for the cause of "
            f"each one of the {_ATTEMPTS} failures. The work item was attempted on these workers:"
            f"\n\n      Root cause: {root}\n      Worker ID: {job.message.name}-harness-0",
        )

    def _fails(self, job: _Job, message: str) -> Any:
        with self._lock:
            job.say(Importance.JOB_MESSAGE_ERROR, message)
        return State.JOB_STATE_FAILED

    def _variables(self, job: _Job) -> dict[str, str]:
        return {**self.environment, "JOB_ID": job.message.id, "JOB_NAME": job.message.name}

    def _staged(self, job: _Job) -> tuple[beam_runner_api_pb2.Pipeline, remote.Environment | None]:
        """The pipeline, and the environment of its workers; None where there is no such image."""
        options = _pb(job.message).environment.sdk_pipeline_options["options"]
        data = self._fetch(options["pipelineUrl"])
        assert hashlib.sha256(data).hexdigest() == options["pipelineProtoHash"]
        pipeline = beam_runner_api_pb2.Pipeline.FromString(data)
        [environment] = pipeline.components.environments.values()
        docker = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
        pool = job.message.environment.worker_pools[0]
        assert docker.container_image == pool.worker_harness_container_image
        image = self.images.get(docker.container_image)
        if image is None:
            return pipeline, None
        return pipeline, self._with_packages(image, environment.dependencies, job)

    def _with_packages(
        self, image: remote.Environment, dependencies: Any, job: _Job
    ) -> remote.Environment:
        """An image's environment with what was staged, installed as Beam's containers do."""
        staged: dict[str, bytes] = {}
        for one in dependencies:
            assert one.type_urn == "beam:artifact:type:url:v1", one.type_urn
            where = beam_runner_api_pb2.ArtifactUrlPayload.FromString(one.type_payload)
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(one.role_payload)
            data = self._fetch(where.url)
            assert hashlib.sha256(data).hexdigest() == where.sha256
            staged[role.staged_name] = data
        if not staged:
            return image
        parts = [str(image.folder)]
        parts += [f"{name} {hashlib.sha256(staged[name]).hexdigest()}" for name in sorted(staged)]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        with self._installing:
            if key not in self._installed:
                self._installed[key] = self._install(key, image, staged)
        return self._installed[key]

    def _install(
        self, key: str, image: remote.Environment, staged: Mapping[str, bytes]
    ) -> remote.Environment:
        folder = Path(self._folder.name) / f"packages-{key}"
        folder.mkdir()
        for name, data in staged.items():
            (folder / name).write_bytes(data)
        made = image.copy(folder / "venv")
        if "requirements.txt" in staged:
            made.install("-r", str(folder / "requirements.txt"))
        for name in staged.get("extra_packages.txt", b"").decode().splitlines():
            made.install("--force-reinstall", "--no-deps", str(folder / name))
            made.install(str(folder / name))
        return made

    def _fetch(self, url: str) -> bytes:
        bucket, _, name = url.removeprefix("gs://").partition("/")
        path = f"{self.storage.url}/storage/v1/b/{bucket}/o/{requests.utils.quote(name, safe='')}"
        found = requests.get(path, params={"alt": "media"}, timeout=60)
        found.raise_for_status()
        return found.content


def _worker_errors(outcome: Outcome) -> list[str]:
    if outcome.how == "disconnected":
        return ["SDK harness sdk-0-0 disconnected.", *outcome.said]
    return [f"Error message from worker: generic::unknown: {said}" for said in outcome.said]


def _parsed(body: str) -> types.Job:
    message = types.Job()
    try:
        json_format.Parse(body, _pb(message))
    except json_format.ParseError as error:
        said = f"Invalid JSON payload received. {error}"
        raise Refused(400, "INVALID_ARGUMENT", said) from error
    return message


def _check(project: str, message: types.Job) -> None:
    """Raise ``Refused`` for what Dataflow does not take."""
    wrong: list[str] = []
    if not _PROJECT.fullmatch(project):
        wrong.append(f"project_id: '{project}' is not valid")
    if not _NAME.fullmatch(message.name):
        wrong.append(f"name: '{message.name}' is not valid")
    wrong += [f"{name} is output-only" for name in _OUTPUT_ONLY if getattr(message, name)]
    if message.type_ != types.JobType.JOB_TYPE_BATCH:
        wrong.append("type: only batch jobs are executed here")
    if not message.client_request_id:
        wrong.append("client_request_id is missing")
    for form, texts in zip(_LABEL, (message.labels.keys(), message.labels.values()), strict=True):
        wrong += [f"labels: '{text}' is not valid" for text in texts if not form.fullmatch(text)]
    environment = message.environment
    if not environment.temp_storage_prefix.startswith("storage.googleapis.com/"):
        wrong.append("environment.temp_storage_prefix is not in Cloud Storage")
    if "use_runner_v2" not in environment.experiments:
        wrong.append("environment.experiments: Python needs Runner v2")
    if len(environment.worker_pools) != 1:
        wrong.append("environment.worker_pools: exactly one is expected")
    else:
        wrong += _wrong_pool(environment)
    options = _pb(message).environment.sdk_pipeline_options
    if "options" not in options or "pipelineUrl" not in options["options"]:
        wrong.append("environment.sdk_pipeline_options has no pipelineUrl")
    if wrong:
        raise Refused(400, "INVALID_ARGUMENT", "; ".join(wrong))


def _wrong_pool(environment: types.Environment) -> list[str]:
    pool = environment.worker_pools[0]
    wrong = []
    if not _MACHINE.fullmatch(pool.machine_type):
        wrong.append(f"machine_type: '{pool.machine_type}' is not valid")
    if pool.autoscaling_settings.max_num_workers < pool.num_workers:
        wrong.append("autoscaling_settings.max_num_workers is less than num_workers")
    if pool.disk_size_gb and pool.disk_size_gb < 25:
        wrong.append("disk_size_gb is too small for the image")
    if not pool.worker_harness_container_image:
        wrong.append("worker_harness_container_image is missing")
    for option in environment.service_options:
        gpu = _GPU.fullmatch(option)
        if option.startswith("worker_accelerator") and gpu is None:
            wrong.append(f"service_options: '{option}' is not valid")
        if gpu and (gpu[1] == "nvidia-l4") != pool.machine_type.startswith("g2-"):
            wrong.append(f"{pool.machine_type} cannot have {gpu[1]}")
    return wrong


def _summary(message: types.Job) -> types.Job:
    kept = ("id", "project_id", "name", "type_", "current_state", "current_state_time")
    found = {name: getattr(message, name) for name in (*kept, "create_time", "location")}
    return types.Job(**found)


def _refuse_unknown(query: dict[str, str], known: set[str]) -> None:
    for name in query.keys() - known:
        raise Refused(400, "INVALID_ARGUMENT", f'Unknown name "{name}"')


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _pb(message: Any) -> Any:
    return type(message).pb(message)


def _whole(value: Any) -> Any:
    """Plain data whose whole numbers are such again, which a Struct makes floats."""
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [*map(_whole, value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_json(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(_pb(message))
    return found
