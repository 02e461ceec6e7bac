"""What a cluster says of a run's Jobs and pods, kept up to date by two watches for each run.

Looking at a job then asks nobody, however many jobs there are and however often they are looked at.
A watch is a list and, from the list's version on, a stream of changes. When the stream breaks it is
taken up where it was; when the server does not know that version any more, by a new list. The
threads end when all jobs that were looked at are done with, or nobody has looked for a while.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from zenml.k8s._api import Api, ApiError, Stream, jobs_in, pods_in

__all__ = ["Seen", "Watcher", "forget", "trim_job", "trim_pod", "watcher"]

#: Seconds that the server is asked to keep a stream open, more or less.
_STREAM: Final = 240
#: Seconds without a word after which a stream counts as dead: bookmarks come about every minute.
_SILENCE: Final = 100.0
#: Seconds between tries: the first, and the most.
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
#: Seconds without a look after which the threads end.
_IDLE: Final = 300.0

_Trim = Callable[[dict[str, Any]], dict[str, Any] | None]


class Seen(NamedTuple):
    """How a job stands, as the cluster said last.

    Attributes:
        job: The Job; None if there is none.
        pods: Its pods.
    """

    job: dict[str, Any] | None
    pods: list[dict[str, Any]]


class Watcher:
    """The Jobs and pods with some labels.

    Args:
        api: The cluster.
        namespace: Where they are.
        selector: Which ones, as the API has it.
        trim: What to keep of a pod; None for nothing.
    """

    def __init__(self, api: Api, namespace: str, selector: str, trim: _Trim | None = None) -> None:
        self._api = api
        self._looked_at: set[str] = set()
        self._changed = threading.Condition()
        jobs, pods = jobs_in(namespace), pods_in(namespace)
        self._jobs = _Collection(api, jobs, selector, trim_job, self._changed)
        self._pods = _Collection(api, pods, selector, trim or trim_pod, self._changed)

    def look(self, name: str, moment: float = 0.0, patience: float = 15.0) -> Seen:
        """A Job and its pods.

        Args:
            name: The Job.
            moment: Seconds that a Job may have been made before it is heard of.
            patience: Seconds in which the cluster has to have answered at all.

        Raises:
            ConnectionError: it does not answer for now.
            ApiError: it refuses.
        """
        job = self._jobs.current(patience).get(name)
        if job is None and name not in self._looked_at:
            self._jobs.wait_for(name, moment)
            job = self._jobs.current(patience).get(name)
        self._looked_at.add(name)
        pods = self._pods.current(patience).values()
        return Seen(job, [pod for pod in list(pods) if pod["job"] == name])

    def jobs(self, patience: float = 15.0) -> Mapping[str, dict[str, Any]]:
        """All Jobs by name. Raises as ``look`` does."""
        return self._jobs.current(patience)

    def wait(self, seconds: float) -> None:
        """Wait until something changes, or that long."""
        with self._changed:
            self._changed.wait(seconds)

    def forget(self, name: str) -> None:
        """Stop watching if this Job was the last that anybody looked at."""
        self._looked_at.discard(name)
        if not self._looked_at:
            self.stop()

    def stop(self) -> None:
        """End its threads and connections."""
        self._jobs.stop()
        self._pods.stop()
        self._api.rest()

    @property
    def alive(self) -> bool:
        """Whether its threads run."""
        return self._jobs.alive and self._pods.alive


class _Collection:
    """Objects of one kind, by name."""

    def __init__(
        self, api: Api, path: str, selector: str, trim: _Trim, changed: threading.Condition
    ) -> None:
        self._api = api
        self._path = path
        self._query = {"labelSelector": selector}
        self._trim = trim
        self._objects: dict[str, dict[str, Any]] = {}
        self._version = ""
        self._changed = changed
        self._synced = False
        self._error: Exception | None = None
        self._looked = self._heard = time.monotonic()
        self._stream: Stream | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zenml-k8s-watch", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopped.is_set()

    def stop(self) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.stop()
        self._thread.join(timeout=5)

    def current(self, patience: float) -> Mapping[str, dict[str, Any]]:
        """What there is. Raises ``ConnectionError``, ``ApiError``."""
        self._looked = time.monotonic()
        with self._changed:
            self._changed.wait_for(
                lambda: self._synced or isinstance(self._error, ApiError), patience
            )
            error = self._error
            if error is None:
                if not self._synced:
                    raise ConnectionError(f"{self._api.host} does not answer")
                return dict(self._objects)
            if isinstance(error, ApiError):
                raise error
            # What was heard last may still be true for a moment, such as while a server starts.
            if self._synced and time.monotonic() - self._heard < patience:
                return dict(self._objects)
            raise ConnectionError(str(error)) from error

    def wait_for(self, name: str, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: name in self._objects, seconds)

    def _run(self) -> None:
        pause = _PAUSE
        while self._is_wanted():
            try:
                if not self._version:
                    self._list()
                self._follow()
                pause = _PAUSE
            except Exception as error:  # noqa: BLE001 - told to whoever looks, and tried again
                if isinstance(error, ApiError) and error.status == 410:
                    self._version = ""  # too old: begin again with a list
                    continue
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                # Many clients lose one server at the same moment.
                self._stopped.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _list(self) -> None:
        found: dict[str, dict[str, Any]] = {}
        version = ""
        for page in self._api.pages(self._path, **self._query):
            version = page["metadata"]["resourceVersion"]
            for item in page.get("items") or ():
                trimmed = self._trim(item)
                if trimmed is not None:
                    found[item["metadata"]["name"]] = trimmed
        self._hear(lambda: self._objects.update(found), gone=self._objects.keys() - found.keys())
        self._version = version

    def _follow(self) -> None:
        seconds = int(_STREAM * random.uniform(0.8, 1.2))  # noqa: S311 - so that not all end at once
        stream = self._stream = self._api.stream(
            self._path,
            _SILENCE,
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=self._version,
            timeoutSeconds=seconds,
            **self._query,
        )
        self._hear(lambda: None)
        if self._stopped.is_set():  # before there was a stream to stop
            stream.stop()
        for event in stream:
            self._take(event)
            if not self._is_wanted():
                return

    def _is_wanted(self) -> bool:
        return not self._stopped.is_set() and time.monotonic() - self._looked < _IDLE

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            status, reason = int(item.get("code") or 500), str(item.get("reason") or "")
            if status == 410:
                raise ApiError(status, reason, str(item.get("message") or ""))
            raise ConnectionError(f"the watch ended: {item.get('message') or reason}")
        name = item["metadata"].get("name")
        trimmed = self._trim(item) if kind in ("ADDED", "MODIFIED") else None
        if kind == "BOOKMARK":
            self._hear(lambda: None)
        elif trimmed is None:
            self._hear(lambda: None, gone=[name])
        else:
            self._hear(lambda: self._objects.update({name: trimmed}))
        self._version = item["metadata"]["resourceVersion"]

    def _hear(self, change: Callable[[], None], gone: Iterable[str] = ()) -> None:
        with self._changed:
            change()
            for name in list(gone):
                self._objects.pop(name, None)
            self._synced, self._error, self._heard = True, None, time.monotonic()
            self._changed.notify_all()


def trim_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """What a Job says about how it stands, and no more: there may be thousands."""
    metadata, status = job["metadata"], job.get("status") or {}
    return {
        "uid": metadata.get("uid"),
        "ending": "deletionTimestamp" in metadata,
        "suspended": bool((job.get("spec") or {}).get("suspend")),
        "queue": (metadata.get("labels") or {}).get("kueue.x-k8s.io/queue-name"),
        "digest": (metadata.get("annotations") or {}).get("zenml.io/digest"),
        "active": status.get("active") or 0,
        "succeeded": status.get("succeeded") or 0,
        "failed": status.get("failed") or 0,
        "completed": status.get("completedIndexes") or "",
        "failed_indexes": status.get("failedIndexes") or "",
        "conditions": {
            found["type"]: (found.get("reason") or "", found.get("message") or "")
            for found in status.get("conditions") or ()
            if found.get("status") == "True"
        },
    }


def trim_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    """What a pod says about how it stands, and no more."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    return {
        "name": metadata["name"],
        "uid": metadata.get("uid"),
        "job": labels.get("batch.kubernetes.io/job-name") or labels.get("job-name"),
        "index": (metadata.get("annotations") or {}).get(
            "batch.kubernetes.io/job-completion-index"
        ),
        "created": metadata.get("creationTimestamp") or "",
        "ending": "deletionTimestamp" in metadata,
        "node": (pod.get("spec") or {}).get("nodeName"),
        "phase": status.get("phase") or "Pending",
        "reason": status.get("reason") or "",
        "message": status.get("message") or "",
        "conditions": {
            found["type"]: (found["status"], found.get("reason") or "", found.get("message") or "")
            for found in status.get("conditions") or ()
            if found["type"] in ("DisruptionTarget", "PodScheduled")
        },
        "init": [_trim_container(found) for found in status.get("initContainerStatuses") or ()],
        "containers": [_trim_container(found) for found in status.get("containerStatuses") or ()],
    }


def _trim_container(container: Mapping[str, Any]) -> dict[str, Any]:
    state = container.get("state") or {}
    kind = next(iter(state), "waiting")
    found = state.get(kind) or {}
    return {
        "name": container["name"],
        "state": kind,
        "reason": found.get("reason") or "",
        "message": found.get("message") or "",
        "code": found.get("exitCode"),
    }


_known: dict[tuple[int, str, str], Watcher] = {}
_making = threading.Lock()


def forget(api: Api, namespace: str, selector: str, name: str) -> None:
    """Say that nobody in this process looks at a Job any more."""
    with _making:
        found = _known.get((id(api), namespace, selector))
        if found is not None:
            found.forget(name)


def watcher(api: Api, namespace: str, selector: str) -> Watcher:
    """The watcher of some labels, which everybody in this process shares."""
    key = (id(api), namespace, selector)
    with _making:
        for old in [found for found, there in _known.items() if not there.alive]:
            del _known[old]
        if key not in _known:
            _known[key] = Watcher(api, namespace, selector)
        return _known[key]
