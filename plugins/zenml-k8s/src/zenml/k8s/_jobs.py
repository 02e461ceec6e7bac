"""Jobs on a cluster: made, found again, looked at, ended. The same for all three backends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from zenml.core import Handle, Job, JobBackend, JobState, LogPage
from zenml.core.errors import BackendError
from zenml.k8s import _manifest
from zenml.k8s._api import Api, ApiError, connect, jobs_in, pods_in
from zenml.k8s._options import KubernetesOptions
from zenml.k8s._states import needs_events, state_of
from zenml.k8s._watching import Seen, forget, trim_job, trim_pod, watcher

__all__ = ["KubernetesJobs", "Place", "ask", "create", "end", "remove", "warnings_about"]

#: Seconds between two times that events are asked for.
_EVENTS_EVERY: Final = 3.0

#: Seconds after which a watch has heard of what was made.
_A_MOMENT: Final = 2.0

#: Bytes of a log that are read at once.
_PAGE: Final = 1 << 20


class Place(NamedTuple):
    """Where a Job is, and what it is found by: the plain data of a handle.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        run: What the label of its run says.
        uid: What the cluster calls it: a later Job of the same name has another.
    """

    namespace: str
    name: str
    run: str
    uid: str


class KubernetesJobs(KubernetesOptions, JobBackend):
    """Base class of the backends whose work is one pod."""

    def render(self, job: Job) -> dict[str, Any]:
        """The Job's manifest: what ``submit`` sends, and what ``kubectl apply`` takes."""
        labels = _manifest.labels_of(self, job.run, job.step, job.attempt)
        annotations = _manifest.annotations_of(
            self,
            run=job.run,
            pipeline=job.pipeline,
            step=job.step,
            store=job.store,
            task=f"{job.folder}/task.json",
            digest=job.digest,
        )
        template = _manifest.pod_template(self, job.command(self.python), labels, annotations)
        spec: dict[str, Any] = {"template": template}
        if job.timeout is not None:
            # For a pod that nobody waits for: the runner keeps the timeout itself. It counts from
            # the Job's beginning, waiting included.
            spec["activeDeadlineSeconds"] = int(
                job.timeout + self.pending_timeout + self.termination_grace_period + 60
            )
        return _manifest.job(self, _manifest.job_name(self, job.name), labels, annotations, spec)

    def submit(self, job: Job) -> Handle:
        api = connect(self)
        place = create(api, self.render(job), self.namespace or api.namespace)
        return Handle(job=job.name, data=place._asdict())

    def find(self, job: Job) -> Handle | None:
        api = connect(self)
        namespace, name = self.namespace or api.namespace, _manifest.job_name(self, job.name)
        with ask(f"the Job '{name}'", waiting=True):
            found = api.find(jobs_in(namespace, name))
        if found is None or _digest_of(found) != job.digest:
            return None
        return Handle(job=job.name, data=_place_of(found, namespace)._asdict())

    def poll(self, handle: Handle) -> JobState:
        place = Place(**handle.data)
        api = connect(self)
        with ask(f"the Job '{place.name}'", waiting=True):
            seen = _seen(api, place)
            if not needs_events(seen):
                return state_of(seen)
            return state_of(seen, warnings_about(api, place, seen))

    def logs(self, handle: Handle, cursor: str = "") -> LogPage:
        place = Place(**handle.data)
        api = connect(self)
        with ask(f"the log of the Job '{place.name}'", waiting=True):
            # A pod may be there a moment longer than its Job.
            if _job(api, place) is None:
                return LogPage((), cursor)
            pods = sorted(_pods(api, place), key=lambda pod: (pod["created"], pod["name"]))
            return _read_log(api, place.namespace, pods, cursor)

    def cancel(self, handle: Handle, grace: float) -> None:
        place = Place(**handle.data)
        with ask(f"the Job '{place.name}'", waiting=True):
            end(connect(self), place, grace)

    def cleanup(self, handle: Handle) -> None:
        place = Place(**handle.data)
        with ask(f"the Job '{place.name}'", waiting=True):
            api = connect(self)
            remove(api, place)
            forget(api, place.namespace, _selector(place), place.name)
            api.rest()  # also where nobody had to watch


# -- the verbs -----------------------------------------------------------------------------------


@contextmanager
def ask(what: str, *, waiting: bool = False) -> Iterator[None]:
    """Turn refusals of the API server into errors that say what to do.

    Args:
        what: What it is asked for.
        waiting: Whether the work goes on without it: then credentials that have run out are no
            reason to give it up.
    """
    try:
        yield
    except ApiError as error:
        if error.status == 401:
            told = f"the API server does not know who asks for {what}: {error.message}"
            if waiting:
                raise ConnectionError(f"{told}; log in again") from error
            raise BackendError(
                told, remedy="log in again: 'kubectl get jobs' with the same context should work"
            ) from error
        remedy = None
        if error.status == 403 and "exceeded quota" in error.message:
            remedy = (
                "wait until others have ended, or have the quota raised: kubectl describe quota"
            )
        elif error.status == 403:
            remedy = "'zenml backend permissions' prints the Role that is needed"
        elif error.status == 422:
            remedy = "correct the backend's parameters; 'zenml plan --render' shows the manifest"
        raise BackendError(f"the cluster refuses {what}: {error.message}", remedy=remedy) from error


def create(api: Api, manifest: Mapping[str, Any], namespace: str) -> Place:
    """Make a Job, or find the one that was made of the same manifest.

    Raises:
        BackendError: the cluster refuses it.
        ConnectionError: the cluster cannot be reached; whether it was made is not known.
    """
    name = manifest["metadata"]["name"]
    with ask(f"a Job in the namespace '{namespace}'"):
        try:
            made = api.create(jobs_in(namespace), manifest)
        except ApiError as error:
            if error.status == 404:
                raise BackendError(
                    f"there is no namespace '{namespace}'",
                    where=api.host,
                    remedy=f"kubectl create namespace {namespace}, or name another with namespace=",
                ) from error
            if error.status != 409:
                raise
            made = api.get(jobs_in(namespace, name))
    if _digest_of(made) != _digest_of(manifest):
        raise BackendError(
            f"there is a Job '{name}' already, and it does something else",
            where=f"namespace '{namespace}'",
            remedy=f"kubectl delete job {name} --namespace {namespace}, or another job_prefix=",
        )
    return _place_of(made, namespace)


def _digest_of(job: Mapping[str, Any]) -> str | None:
    """Of the task that a Job was made for."""
    digest: str | None = (job["metadata"].get("annotations") or {}).get("zenml.io/digest")
    return digest


def _place_of(job: Mapping[str, Any], namespace: str) -> Place:
    """Where a Job of ours is, as the API server tells of it."""
    told = job["metadata"]
    return Place(namespace, told["name"], told["labels"][_manifest.RUN], told["uid"])


def end(api: Api, place: Place, grace: float) -> None:
    """Delete a Job; it is there until its pods have ended, which get ``grace`` seconds."""
    path = jobs_in(place.namespace, place.name)
    with _unless_replaced():
        api.delete(path, propagationPolicy="Foreground", preconditions={"uid": place.uid})
    # The Job's deletion gives pods their own grace, which may be another.
    running = [pod for pod in _pods(api, place) if pod["phase"] not in ("Succeeded", "Failed")]
    end_pods(api, place, running, grace)


def end_pods(api: Api, place: Place, pods: Iterable[Mapping[str, Any]], grace: float) -> None:
    """Delete pods of a Job, which get ``grace`` seconds."""
    for pod in pods:
        path = pods_in(place.namespace, pod["name"])
        with _unless_replaced():
            api.delete(path, gracePeriodSeconds=int(grace), preconditions={"uid": pod["uid"]})


def remove(api: Api, place: Place) -> None:
    """Delete a Job that has ended, and its pods."""
    path = jobs_in(place.namespace, place.name)
    with _unless_replaced():
        api.delete(path, propagationPolicy="Background", preconditions={"uid": place.uid})


@contextmanager
def _unless_replaced() -> Iterator[None]:
    """Leave alone what has the name now, and is not what had it."""
    try:
        yield
    except ApiError as error:
        if error.status != 409:
            raise


def _seen(api: Api, place: Place) -> Seen:
    """How a Job stands: once by asking, and from then on by watching its run."""
    seen = watcher(api, place.namespace, _selector(place)).look(place.name, _A_MOMENT)
    if seen.job is None or seen.job["uid"] != place.uid:
        job = _job(api, place)  # to be sure
        return Seen(job, [] if job is None else _pods(api, place))
    return seen


def _job(api: Api, place: Place) -> dict[str, Any] | None:
    """A Job as it is now; None if it is gone, or another has its name."""
    found = api.find(jobs_in(place.namespace, place.name))
    job = None if found is None else trim_job(found)
    return job if job is not None and job["uid"] == place.uid else None


def _selector(place: Place) -> str:
    return f"{_manifest.MANAGED_BY}=zenml,{_manifest.RUN}={place.run}"


def _pods(api: Api, place: Place) -> list[dict[str, Any]]:
    selector = f"batch.kubernetes.io/controller-uid={place.uid}"
    return [trim_pod(pod) for pod in api.list(pods_in(place.namespace), labelSelector=selector)]


class _Warnings:
    """Warnings that tell why pods are not made, or do not begin, in one namespace.

    Asked for now and then, and for all Jobs together: how often does not depend on their number.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0.0
        self._found: dict[str, list[dict[str, str]]] = {}

    def about(self, api: Api, namespace: str, uids: Iterable[str]) -> list[dict[str, str]]:
        with self._lock:
            moment = time.monotonic()
            if moment - self._asked > _EVENTS_EVERY:
                self._found = {}
                for kind, reason in _REASONS:
                    self._ask(api, namespace, kind, reason)
                self._asked = moment
            found = [event for uid in uids for event in self._found.get(uid, ())]
        return sorted(found, key=lambda event: event["time"])

    def _ask(self, api: Api, namespace: str, kind: str, reason: str) -> None:
        selector = f"involvedObject.kind={kind},reason={reason},type=Warning"
        path = f"/api/v1/namespaces/{namespace}/events"
        for event in api.list(path, fieldSelector=selector):
            said = {
                "reason": reason,
                "message": event.get("message") or "",
                "time": event.get("lastTimestamp") or event.get("eventTime") or "",
            }
            self._found.setdefault(event["involvedObject"]["uid"], []).append(said)


#: What is asked for: the kind of object, and the event's reason.
_REASONS: Final = (("Job", "FailedCreate"), ("Pod", "FailedMount"), ("Pod", "FailedAttachVolume"))

_warnings: dict[tuple[int, str], _Warnings] = {}


def warnings_about(api: Api, place: Place, seen: Seen) -> list[dict[str, str]]:
    """Warnings about a Job and its pods, oldest first; a few seconds old at most."""
    known = _warnings.setdefault((id(api), place.namespace), _Warnings())
    return known.about(api, place.namespace, [place.uid, *(pod["uid"] for pod in seen.pods)])


# -- logs ----------------------------------------------------------------------------------------


class _Cursor(NamedTuple):
    """Where a log was read to.

    Attributes:
        pod: The pod's uid.
        time: The time of the last line.
        lines: How many lines of that very time were read.
    """

    pod: str = ""
    time: str = ""
    lines: int = 0


def _read_log(api: Api, namespace: str, pods: list[dict[str, Any]], cursor: str) -> LogPage:
    """The next page: what the pods have written since, one pod after the other.

    The server tells lines by time, in seconds, so the last ones come again and are left out.
    """
    position = _Cursor(*json.loads(cursor)) if cursor else _Cursor()
    uids = [pod["uid"] for pod in pods]
    first = uids.index(position.pod) if position.pod in uids else 0
    for pod in pods[first:]:
        if pod["uid"] != position.pod:
            position = _Cursor(pod["uid"])
        query: dict[str, str | int] = {
            "container": _manifest.CONTAINER,
            "timestamps": "true",
            "limitBytes": _PAGE,
        }
        if position.time:
            query["sinceTime"] = position.time
        try:
            text = api.text(f"{pods_in(namespace, pod['name'])}/log", **query)
        except ApiError as error:
            # It has not begun, or is gone, or its node does not answer.
            if error.status not in (400, 404):
                raise
            continue
        lines, position = _new_lines(text, position)
        if lines:
            return LogPage(tuple(lines), json.dumps(position))
    return LogPage((), json.dumps(position) if position.pod else "")


def _new_lines(text: str, position: _Cursor) -> tuple[list[str], _Cursor]:
    # A line that is cut off by the limit comes whole the next time.
    whole = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
    lines = []
    time_, seen, again = position.time, position.lines, 0
    for line in whole:
        stamp, _, said = line.partition(" ")
        if position.time and stamp < position.time:
            continue
        if stamp == position.time and again < position.lines:
            again += 1
            continue
        lines.append(said)
        seen = seen + 1 if stamp == time_ else 1
        time_ = stamp
    return lines, _Cursor(position.pod, time_, seen)
