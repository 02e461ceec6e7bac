"""Custom jobs of Vertex AI: made once, found again, looked at, ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from zenml.core import Handle, Job, JobBackend, JobState, LogPage
from zenml.core.errors import ConfigurationError, Problem
from zenml.gcaip._api import SECONDS, ask, connect, location
from zenml.gcaip._logs import read_log
from zenml.gcaip._options import VertexOptions
from zenml.gcaip._packages import packages_for, stage
from zenml.gcaip._spec import JOB, custom_job
from zenml.gcaip._states import ENDED, state_of

__all__ = ["VertexJobs"]

#: Seconds that Vertex AI may need to see that the work of a job has ended.
_ENDING_TAKES: Final = 60.0


class VertexJobs(VertexOptions, JobBackend):
    """Base class of the backend whose work is one custom job."""

    def render(self, job: Job) -> dict[str, Any]:
        """The custom job as ``submit`` sends it. Makes wheels where packages are staged."""
        folder = self.job_dir.rstrip("/")
        packages = () if self.image is not None else packages_for(self, job)
        return custom_job(self, job, [f"{folder}/{key}" for key, _ in packages])

    def submit(self, job: Job) -> Handle:
        _refuse_hidden_store(job.store)
        spec = self.render(job)
        with ask(self, "a custom job"):
            client = connect(self)
            found = _find(self, client, job.name)
            if not found:
                if self.image is None:
                    stage(self, packages_for(self, job))
                found = [_create(self, client, spec)]
                # Somebody may have made one at the same time, or the request come twice.
                others = (one for one in _find(self, client, job.name) if one.name != found[0].name)
                found += others
            first, *rest = _in_order(found)
            for other in rest:
                if other.state.name not in ENDED:
                    _cancel(client, other.name)
        return Handle(job=job.name, data={"name": first.name})

    def find(self, job: Job) -> Handle | None:
        with ask(self, f"the job {job.name}", waiting=True):
            found = _in_order(_find(self, connect(self), job.name))
        return Handle(job=job.name, data={"name": found[0].name}) if found else None

    def poll(self, handle: Handle) -> JobState:
        from google.api_core.exceptions import NotFound

        with ask(self, f"the job {handle.job}", waiting=True):
            try:
                found = connect(self).get_custom_job(
                    name=handle.data["name"], retry=None, timeout=SECONDS
                )
            except NotFound:
                return JobState(phase="gone", message="the custom job is not there any more")
        return state_of(_seen(found))

    def logs(self, handle: Handle, cursor: str = "") -> LogPage:
        # Cloud Logging keeps a log longer than Vertex AI its job, and it is the job's.
        if self.poll(handle).phase == "gone":
            return LogPage((), cursor)
        with ask(self, f"the log of {handle.job}", waiting=True):
            return read_log(self, handle.data["name"].rpartition("/")[2], cursor)

    def cancel(self, handle: Handle, grace: float) -> None:
        """End the job. How long it has to stop by itself is for Vertex AI to say."""
        if self.poll(handle).ended:
            return
        with ask(self, f"the job {handle.job}", waiting=True):
            _cancel(connect(self), handle.data["name"])

    def cleanup(self, handle: Handle) -> None:
        with ask(self, f"the job {handle.job}", waiting=True):
            client = connect(self)
            named = {one.name for one in _find(self, client, handle.job)}
            for name in sorted(named | {handle.data["name"]}):
                _delete(client, name)


def _find(options: VertexOptions, client: Any, name: str) -> list[Any]:
    """Every job with our name for it. There is one, unless several were asked for at once."""
    request = {"parent": location(options), "filter": f'labels.{JOB}="{name}"'}
    found: Iterable[Any] = client.list_custom_jobs(request=request, retry=None, timeout=SECONDS)
    return list(found)


def _in_order(found: Iterable[Any]) -> list[Any]:
    """The same for everybody: the job that all but the first are the doubles of comes first."""
    return sorted(found, key=lambda one: (one.create_time, one.name))


def _create(options: VertexOptions, client: Any, spec: Mapping[str, Any]) -> Any:
    from google.cloud.aiplatform_v1.types import CustomJob
    from google.protobuf import json_format

    job = CustomJob()
    json_format.ParseDict(dict(spec), CustomJob.pb(job))
    return client.create_custom_job(
        parent=location(options), custom_job=job, retry=None, timeout=SECONDS
    )


def _cancel(client: Any, name: str) -> None:
    from google.api_core.exceptions import BadRequest, NotFound

    try:
        client.cancel_custom_job(name=name, retry=None, timeout=SECONDS)
    except NotFound:
        return
    except BadRequest:
        found = client.get_custom_job(name=name, retry=None, timeout=SECONDS)
        if found.state.name not in ENDED:  # else it has ended meanwhile
            raise


def _delete(client: Any, name: str) -> None:
    """Delete a job that has ended: its runner says so earlier than Vertex AI does."""
    from google.api_core.exceptions import BadRequest, NotFound

    deadline, pause = time.monotonic() + _ENDING_TAKES, 0.1
    while True:
        try:
            client.delete_custom_job(name=name, retry=None, timeout=SECONDS)
            return
        except NotFound:
            return
        except BadRequest:
            if time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(pause * 2, 5.0)


def _seen(found: Any) -> dict[str, Any]:
    """What a job says of itself, as plain data."""
    timeout = found.job_spec.scheduling.timeout
    return {
        "state": found.state.name,
        "error": {"code": int(found.error.code), "message": found.error.message},
        "started": found.start_time,
        "ended": found.end_time or found.update_time,
        "timeout": timeout.total_seconds() if timeout else 0.0,
    }


def _refuse_hidden_store(url: str) -> None:
    """A folder of this machine is not there, but for a bucket that Vertex AI mounts."""
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.path.startswith("/gcs/"):
        problem = Problem(
            "artifact_store",
            f"{url} is a folder of this machine, which Vertex AI does not see",
            "keep artifacts in a bucket: artifact_store='gs://BUCKET/FOLDER'",
        )
        raise ConfigurationError("the trainer cannot run on Vertex AI", [problem])
