"""Vertex AI's custom jobs, and Cloud Logging: a service that really runs what it is sent.

It speaks the REST protocol that Google's client speaks, and takes nothing that is not in Google's
own messages. A job runs on this machine, in a clean environment, with what a machine of the cloud
would give it and nothing of whoever sent it.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from harness import remote
from harness._service import Refused, Service

__all__ = ["EXECUTOR", "IMAGE", "PREBUILT", "VertexServer"]

#: An image with zenml, as its user has made it, and one of Google's without.
IMAGE = "europe-docker.pkg.dev/my-project/images/zenml:1"
EXECUTOR = "europe-docker.pkg.dev/vertex-ai/training/tf-gpu.2-17.py310:latest"

#: Some of what Google's holds, so that not all of it has to be installed for each job.
PREBUILT = ("google-cloud-compute", "google-cloud-storage", "msgspec", "pluggy", "pyyaml", "rich")

State = types.JobState
Strategy = types.Scheduling.Strategy

#: Seconds that a job has between the request to end and its end.
GRACE = 10.0

#: Machines by the GPUs that they can have, one of each; from Google's list.
_PAIRS = {
    r"n1-(standard|highmem|highcpu)-\d+": {"T4", "P4", "P100", "V100"},
    r"g2-standard-\d+": {"L4"},
    r"a2-highgpu-1g": {"A100"},
    r"a2-ultragpu-1g": {"A100_80GB"},
    r"a3-highgpu-1g": {"H100_80GB"},
    r"g4-standard-48": {"RTX_PRO_6000"},
}

_PARENT = re.compile(r"projects/([^/]+)/locations/([^/]+)/customJobs")
_PREBUILT = re.compile(r"(us|europe|asia)-docker\.pkg\.dev/vertex-ai/training/[\w.-]+:[\w.-]+")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")


class _Job:
    """One job: what was asked for, how it stands, and the process that does it."""

    def __init__(self, message: types.CustomJob, folder: Path) -> None:
        self.message = message
        self.folder = folder
        self.process: remote.Process | None = None
        self.stopped: str | None = None
        self.stop = threading.Event()
        self.log = folder / "log"
        self.entries: list[dict[str, Any]] = []
        self.read = 0

    @property
    def id(self) -> str:
        return str(self.message.name.rpartition("/")[2])

    def collect(self, *, all_of_it: bool = False) -> None:
        """Make entries of the lines that were printed since."""
        if not self.log.exists():
            return
        with self.log.open("rb") as file:
            file.seek(self.read)
            text = file.read()
        whole = text if all_of_it else text[: text.rfind(b"\n") + 1]
        self.read += len(whole)
        for line in whole.splitlines():
            moment = datetime.now(timezone.utc)
            self.entries.append(
                {
                    "insertId": f"{len(self.entries):012x}",
                    "logName": "projects/p/logs/workerpool0-0",
                    "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}",
                    "resource": {"type": "ml_job", "labels": {"job_id": self.id}},
                    "jsonPayload": {"message": line.decode("utf-8", "replace")},
                }
            )


class VertexServer(Service):
    """The service; use it as a context.

    Args:
        images: What may be run in: the name of an image to the environment that it holds. Google's
            prebuilt ones are among them, without anything of zenml.
        environment: Further variables of every job: where the other services are.

    Attributes:
        pending: Seconds for which a job is prepared before it runs.
        without: Machine types of which there is none for now.
        quotas: How many jobs with a GPU there may be at once, by its name in the API.
    """

    def __init__(
        self,
        images: Mapping[str, remote.Environment],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.images = dict(images)
        self.environment = dict(environment or {})
        self.pending = 1.0
        self.without: set[str] = set()
        self.quotas: dict[str, int] = {}
        self._jobs: dict[str, _Job] = {}
        self._gone: list[_Job] = []

    def _stop(self) -> None:
        for job in self._jobs.values():
            job.stop.set()
            if job.process is not None:
                job.process.kill()

    # -- what is done in the console, and by the cloud itself --------------------------------------

    def jobs(self, name: str = "") -> list[types.CustomJob]:
        """The jobs that there are, or those that zenml has that name for."""
        with self._lock:
            found = [job.message for job in self._jobs.values()]
        return [one for one in found if name in ("", one.labels.get("zenml_job"))]

    def cancel(self, job: types.CustomJob) -> None:
        """Cancel a job, as its owner may in the console."""
        with self._lock:
            found = self._job(job.name)
            if found.message.state in _ENDED:
                raise Refused(400, "FAILED_PRECONDITION", "the job has ended")
            self._end(found, "cancelled")

    def preempt(self, job: types.CustomJob) -> None:
        """Take the machine of a job away."""
        with self._lock:
            self._end(self._job(job.name), "preempted")

    def log_of(self, job: types.CustomJob) -> str:
        """What a job has printed."""
        with self._lock:
            found = next(one for one in self._all() if one.message.name == job.name)
            found.collect()
            return "".join(f"{entry['jsonPayload']['message']}\n" for entry in found.entries)

    def _end(self, job: _Job, how: str) -> None:
        if job.stopped is None:
            if how != "preempted":
                job.message.state = State.JOB_STATE_CANCELLING
                job.message.update_time = datetime.now(timezone.utc)
            job.stopped = how
            job.stop.set()

    # -- the API -----------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: str) -> dict[str, Any]:
        """See ``Service.answer``."""
        if path == "/v2/entries:list" and method == "POST":
            return self._list_entries(_json(body))
        name = path.removeprefix("/v1/")
        if _PARENT.fullmatch(name):
            if method == "POST":
                return _as_json(self._create(name, body))
            if method == "GET":
                return self._list(name, query)
        elif _PARENT.fullmatch(name.rpartition("/")[0]):
            name, _, verb = name.partition(":")
            with self._lock:
                job = self._job(name)
                if (method, verb) == ("GET", ""):
                    return _as_json(job.message)
                if (method, verb) == ("POST", "cancel"):
                    json_format.Parse(body or "{}", types.CancelCustomJobRequest.pb()())
                    self.cancel(job.message)
                    return {}
                if (method, verb) == ("DELETE", ""):
                    return self._delete(job)
        raise Refused(404, "NOT_FOUND", f"there is no {method} {path}")

    def _create(self, parent: str, body: str) -> types.CustomJob:
        message = types.CustomJob()
        try:
            json_format.Parse(body, types.CustomJob.pb(message))
        except json_format.ParseError as error:
            raise Refused(
                400, "INVALID_ARGUMENT", f"Invalid JSON payload received. {error}"
            ) from error
        _check(message)
        machine = message.job_spec.worker_pool_specs[0].machine_spec
        gpu = machine.accelerator_type.name
        with self._lock:
            busy = [one for one in self.jobs() if one.state not in _ENDED and _gpu_of(one) == gpu]
            if len(busy) >= self.quotas.get(gpu, 1000):
                raise Refused(
                    429,
                    "RESOURCE_EXHAUSTED",
                    "The following quota metrics exceed quota limits: "
                    f"aiplatform.googleapis.com/custom_model_training_{gpu.lower()}_gpus",
                )
            number = f"{secrets.randbelow(10**18) + 10**18}"
            # The service knows projects by their numbers, whatever it is asked with.
            message.name = f"{_numbered(parent)}/{number}"
            message.state = State.JOB_STATE_PENDING
            message.create_time = message.update_time = datetime.now(timezone.utc)
            folder = Path(self._folder.name) / number
            folder.mkdir()
            job = _Job(message, folder)
            self._jobs[message.name] = job
            thread = threading.Thread(target=self._carry, args=(job,), daemon=True)
            self._threads.append(thread)
            thread.start()
            return types.CustomJob(message)

    def _list(self, parent: str, query: dict[str, str]) -> dict[str, Any]:
        for name in query:
            if name not in ("filter", "pageSize", "pageToken", "readMask"):
                raise Refused(400, "INVALID_ARGUMENT", f'Unknown name "{name}"')
        wanted = _filter(query.get("filter", ""))
        with self._lock:
            found = [
                job.message
                for job in self._jobs.values()
                if job.message.name.startswith(f"{_numbered(parent)}/") and wanted(job.message)
            ]
            found.sort(key=lambda one: one.create_time, reverse=True)
            begin, size = int(query.get("pageToken") or 0), int(query.get("pageSize") or 100)
            page = {"customJobs": [_as_json(one) for one in found[begin : begin + size]]}
            more = {"nextPageToken": str(begin + size)} if len(found) > begin + size else {}
            return {**page, **more}

    def _delete(self, job: _Job) -> dict[str, Any]:
        if job.message.state not in _ENDED:
            message = "The job is still running; cancel it before it is deleted"
            raise Refused(400, "FAILED_PRECONDITION", message)
        job.collect(all_of_it=True)
        self._gone.append(self._jobs.pop(job.message.name))
        empty = {"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}
        return {"name": f"{job.message.name}/operations/1", "done": True, "response": empty}

    def _list_entries(self, query: dict[str, Any]) -> dict[str, Any]:
        known = {"filter", "orderBy", "pageSize", "pageToken", "resourceNames"}
        if not query.keys() <= known or query.get("orderBy") != "timestamp asc":
            raise Refused(400, "INVALID_ARGUMENT", f"Invalid JSON payload received: {query}")
        conditions = re.fullmatch(
            r'resource\.type="ml_job" AND resource\.labels\.job_id="(\d+)"'
            r'(?: AND timestamp>="([^"]+)")?',
            query["filter"],
        )
        if conditions is None or not query.get("resourceNames"):
            raise Refused(400, "INVALID_ARGUMENT", f"Unparseable filter: {query['filter']}")
        with self._lock:
            entries: list[dict[str, Any]] = []
            for job in self._all():
                if job.id == conditions[1]:
                    job.collect(all_of_it=job.message.state in _ENDED)
                    entries = [*job.entries]
        after = (conditions[2] or "", "")
        if query.get("pageToken"):
            after = tuple(json.loads(base64.b64decode(query["pageToken"])))
        places = [(entry["timestamp"], entry["insertId"]) for entry in entries]
        found = [entry for entry, place in zip(entries, places, strict=True) if place > after]
        page = found[: min(int(query.get("pageSize") or 50), 1000)]
        answer: dict[str, Any] = {"entries": page} if page else {}
        if len(found) > len(page):
            place = [page[-1]["timestamp"], page[-1]["insertId"]]
            answer["nextPageToken"] = base64.b64encode(json.dumps(place).encode()).decode()
        return answer

    def _all(self) -> list[_Job]:
        return [*self._jobs.values(), *self._gone]

    def _job(self, name: str) -> _Job:
        parent, _, number = name.rpartition("/")
        found = self._jobs.get(f"{_numbered(parent)}/{number}")
        if found is None:
            raise Refused(404, "NOT_FOUND", f"The CustomJob {name} was not found")
        return found

    # -- running -----------------------------------------------------------------------------------

    def _carry(self, job: _Job) -> None:
        """See a job through its states."""
        state, error = State.JOB_STATE_FAILED, (13, "internal error")
        try:
            state, error = self._run(job)
        except Exception as problem:  # noqa: BLE001 - the service goes on, and says so
            error = (13, f"internal error: {problem!r}")
        finally:
            with self._lock:
                job.collect(all_of_it=True)
                job.message.state = state
                job.message.end_time = job.message.update_time = datetime.now(timezone.utc)
                if state == State.JOB_STATE_FAILED:
                    job.message.error.code, job.message.error.message = error
            shutil.rmtree(job.folder, ignore_errors=True)

    def _run(self, job: _Job) -> tuple[Any, tuple[int, str]]:
        nothing = (0, "")
        pool = job.message.job_spec.worker_pool_specs[0]
        scheduling = job.message.job_spec.scheduling
        stopped = self._wait_for_machine(job, pool.machine_spec.machine_type, scheduling)
        if stopped is not None:
            return stopped
        container = pool.container_spec
        image = container.image_uri or pool.python_package_spec.executor_image_uri
        held = self.images.get(image)
        if held is None:
            said = f"The image {image} could not be pulled: manifest for {image} not found"
            return State.JOB_STATE_FAILED, (3, said)
        with self._lock:
            job.message.state = State.JOB_STATE_RUNNING
            job.message.start_time = job.message.update_time = datetime.now(timezone.utc)
        limit = scheduling.timeout or timedelta(days=7)
        deadline = time.monotonic() + limit.total_seconds()
        code = 0
        for command, environment in self._commands(job, held):
            code = self._execute(job, command, environment, deadline)
            if code or job.stopped:
                break
        if job.stopped in ("cancelled", "late"):
            return State.JOB_STATE_CANCELLED, nothing
        if job.stopped == "preempted":
            return State.JOB_STATE_FAILED, (8, "The replica workerpool0-0 was preempted.")
        if code == 0:
            return State.JOB_STATE_SUCCEEDED, nothing
        said = f"The replica workerpool0-0 exited with a non-zero status of {code}."
        return State.JOB_STATE_FAILED, (3, said)

    def _wait_for_machine(self, job: _Job, machine: str, scheduling: Any) -> Any:
        """Wait for one; how the job ended meanwhile, if it did."""
        longest = scheduling.max_wait_duration or timedelta(days=1)
        deadline = time.monotonic() + longest.total_seconds()
        if job.stop.wait(self.pending):
            return State.JOB_STATE_CANCELLED, (0, "")
        while machine in self.without:
            if scheduling.strategy != Strategy.FLEX_START:
                said = "Resources are insufficient in region. Please try a different region."
                return State.JOB_STATE_FAILED, (8, said)
            if time.monotonic() > deadline:
                return State.JOB_STATE_EXPIRED, (0, "")
            if job.stop.wait(0.05):
                return State.JOB_STATE_CANCELLED, (0, "")
        return None

    def _commands(
        self, job: _Job, image: remote.Environment
    ) -> Iterator[tuple[list[str], dict[str, str]]]:
        """What is run, one after the other, and with which variables."""
        pool = job.message.job_spec.worker_pool_specs[0]
        package = pool.python_package_spec
        spec = pool.container_spec if pool.container_spec.image_uri else package
        prefix = job.message.job_spec.base_output_directory.output_uri_prefix
        for name in ("home", "tmp"):
            (job.folder / name).mkdir()
        variables = {
            "HOME": str(job.folder / "home"),
            "TMPDIR": str(job.folder / "tmp"),
            "LANG": "C.UTF-8",
            "CLOUD_ML_JOB_ID": job.id,
            **self.environment,
            **{one.name: one.value for one in spec.env},
        }
        if prefix:
            variables["AIP_MODEL_DIR"] = f"{prefix}model/"
            variables["AIP_CHECKPOINT_DIR"] = f"{prefix}checkpoints/"
            variables["AIP_TENSORBOARD_LOG_DIR"] = f"{prefix}logs/"
        if spec is not package:
            yield [*spec.command, *spec.args], {**variables, "PATH": f"{image.bin}:/usr/bin:/bin"}
            return
        own = image.copy(job.folder / "venv")
        variables["PATH"] = f"{own.bin}:/usr/bin:/bin"
        # The machine has an index of packages, which here is that of pip as it is configured.
        for uri in package.package_uris:
            file = _fetched(uri, job.folder / "packages", self.environment)
            command = [own.python, "-m", "pip", "install", "--no-input", "--upgrade", str(file)]
            yield command, {**variables, **remote.pip_variables()}
        yield [own.python, "-m", package.python_module, *package.args], variables

    def _execute(
        self, job: _Job, command: list[str], variables: dict[str, str], deadline: float
    ) -> int:
        program = shutil.which(command[0], path=variables["PATH"]) or command[0]
        with self._lock:
            if job.stopped:
                return 1
            job.process = process = remote.start(
                [program, *command[1:]], variables, cwd=job.folder / "tmp", output=job.log
            )
        while (code := process.poll()) is None:
            if time.monotonic() > deadline:
                with self._lock:
                    self._end(job, "late")
            if job.stop.wait(0.05):
                return process.stop(GRACE)
        return code


_ENDED = (
    State.JOB_STATE_SUCCEEDED,
    State.JOB_STATE_FAILED,
    State.JOB_STATE_CANCELLED,
    State.JOB_STATE_EXPIRED,
)


def _check(job: types.CustomJob) -> None:
    """What the service does not take although it is in its messages."""
    wrong: list[str] = []
    pools = job.job_spec.worker_pool_specs
    if not 0 < len(job.display_name) <= 128:
        wrong.append("display_name is required, with at most 128 characters")
    if job.name or job.state or job.create_time or job.error.code:
        wrong.append("an output-only field is set")
    wrong += [
        f"the label {name}={value} is not valid"
        for name, value in job.labels.items()
        if not (name[:1].islower() and _LABEL.fullmatch(name) and _LABEL.fullmatch(value))
    ]
    if len(pools) != 1:
        raise Refused(400, "INVALID_ARGUMENT", "worker_pool_specs is required")
    [pool] = pools
    machine, package = pool.machine_spec, pool.python_package_spec
    gpu = machine.accelerator_type.name.removeprefix("NVIDIA_").removeprefix("TESLA_")
    can = [gpus for form, gpus in _PAIRS.items() if re.fullmatch(form, machine.machine_type)]
    if not can:
        wrong.append(f'Machine type "{machine.machine_type}" is not supported.')
    elif gpu not in can[0] or machine.accelerator_count != 1:
        wrong.append(f'"{machine.machine_type}" cannot have {machine.accelerator_count} {gpu}')
    if pool.replica_count != 1:
        wrong.append("replica_count has to be 1 in the first pool")
    if bool(pool.container_spec.image_uri) == bool(package.executor_image_uri):
        wrong.append("one of container_spec and python_package_spec is required")
    if package.executor_image_uri:
        if not _PREBUILT.fullmatch(package.executor_image_uri):
            wrong.append(f"{package.executor_image_uri} is not a prebuilt image")
        if not package.package_uris or not package.python_module:
            wrong.append("package_uris and python_module are required")
        wrong += [
            f"{uri} is not in Cloud Storage"
            for uri in package.package_uris
            if not uri.startswith("gs://")
        ]
    prefix = job.job_spec.base_output_directory.output_uri_prefix
    if prefix and not prefix.startswith("gs://"):
        wrong.append(f"{prefix} is not in Cloud Storage")
    scheduling = job.job_spec.scheduling
    if scheduling.max_wait_duration and scheduling.strategy != Strategy.FLEX_START:
        wrong.append("max_wait_duration is for FLEX_START")
    if wrong:
        raise Refused(400, "INVALID_ARGUMENT", "; ".join(wrong))


def _gpu_of(job: types.CustomJob) -> str:
    return str(job.job_spec.worker_pool_specs[0].machine_spec.accelerator_type.name)


def _numbered(parent: str) -> str:
    """A parent with the number of its project."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        raise Refused(404, "NOT_FOUND", f"{parent} was not found")
    number = found[1] if found[1].isdigit() else str(10**11 + sum(found[1].encode()))
    return f"projects/{number}/locations/{found[2]}/customJobs"


def _filter(text: str) -> Callable[[types.CustomJob], bool]:
    """Those of the forms of filters that are needed here."""
    if not text:
        return lambda _: True
    label = re.fullmatch(r'labels\.([a-z0-9_-]+)="([a-z0-9_-]*)"', text)
    if label is None:
        raise Refused(400, "INVALID_ARGUMENT", f"Invalid filter: {text}")
    return lambda job: bool(job.labels.get(label[1]) == label[2])


def _fetched(uri: str, folder: Path, environment: Mapping[str, str]) -> Path:
    """An object of Cloud Storage as a file."""
    bucket, _, key = uri.removeprefix("gs://").partition("/")
    host = environment["STORAGE_EMULATOR_HOST"]
    url = f"{host}/storage/v1/b/{bucket}/o/{quote(key, safe='')}"
    answer = requests.get(url, params={"alt": "media"}, timeout=60)
    answer.raise_for_status()
    folder.mkdir(exist_ok=True)
    file = folder / key.rpartition("/")[2]
    file.write_bytes(answer.content)
    return file


def _as_json(message: types.CustomJob) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(
        types.CustomJob.pb(message), use_integers_for_enums=True
    )
    return found


def _json(body: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(body)
    except ValueError as error:
        raise Refused(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error
    return found
