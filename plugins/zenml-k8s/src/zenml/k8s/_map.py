"""Maps: an order in the store, a Job whose pods carry it out, and results as its indexes are done.

Whatever the number of units, the API server is asked to make one Job and to delete it, and two
watches tell how it stands. Of a pod that has succeeded, nothing is kept but its index.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec

from zenml.core import MapContext, Unit, WorkOrder, open_store, safe_segment, ship_code
from zenml.core.errors import BackendError, RunError
from zenml.k8s import _manifest
from zenml.k8s._api import connect, jobs_in
from zenml.k8s._indexes import AGAIN, RAISED, REFUSED, divided, indexes_in
from zenml.k8s._jobs import Place, ask, create, end_pods, remove, warnings_about
from zenml.k8s._states import needs_events, state_of
from zenml.k8s._watching import Seen, Watcher, trim_pod

if TYPE_CHECKING:
    from zenml.k8s.processing import ProcessingKubernetesBackend

__all__ = ["manifest_of", "map_units"]

#: The label by which the Jobs of one step's units are found, whichever run began them.
_MAP: Final = "zenml.io/map"

#: Seconds that the API server may be away: before a Job is made, and afterwards.
_UNREACHED_FOR: Final = 30.0
_UNANSWERED_FOR: Final = 300.0

#: Seconds after which a Job that was made has to be seen.
_UNSEEN_FOR: Final = 15.0

#: Seconds that what is said of pods may come later than what is said of their Job.
_PODS_AFTER: Final = 5.0

#: Seconds that nothing runs before events are asked for.
_EVENTS_AFTER: Final = 3.0

_NEEDS: Final = (
    "the image needs zenml-k8s and zenml-core as they are here, and what the units import"
)

_SEES: Final = (
    "the pods have to reach the artifact store: volumes= mounts a folder that they share with the "
    "client, at the same path"
)

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def map_units(
    backend: ProcessingKubernetesBackend, units: Sequence[Unit], context: MapContext
) -> Iterator[tuple[int, Any]]:
    """See ``ProcessingBackend.map``."""
    if units:
        yield from _Map(backend, units, context).results()


def manifest_of(
    backend: ProcessingKubernetesBackend, order: WorkOrder, context: MapContext, count: int
) -> dict[str, Any]:
    """The Job that carries out an order of ``count`` indexes."""
    labels = _manifest.labels_of(backend, context.run or context.scope, context.step, 1)
    labels[_MAP] = safe_segment(context.scope)
    annotations = _manifest.annotations_of(
        backend,
        run=context.run,
        step=context.step,
        store=context.store,
        order=order.key,
        digest=order.digest,
    )
    command = [backend.python, "-m", "zenml.k8s.worker", "--store", context.store]
    command += ["--order", order.key, "--digest", order.digest]
    template = _manifest.pod_template(backend, command, labels, annotations)
    spec: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": min(backend.parallelism, count),
        "backoffLimitPerIndex": backend.backoff_limit_per_index,
        # Without its units there is no result of the step.
        "maxFailedIndexes": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": _manifest.CONTAINER,
                        "operator": "In",
                        "values": [RAISED, REFUSED],
                    },
                },
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
            ]
        },
    }
    if backend.timeout is not None:
        spec["activeDeadlineSeconds"] = math.ceil(backend.timeout)
    # Of the same order and the same pods, so that a client that was started again finds its Job; of
    # other pods another, such as when they are given more memory.
    unique = hashlib.sha256(
        json.dumps([order.digest, spec, template["spec"]], sort_keys=True).encode()
    )
    step = safe_segment(context.step, limit=16)
    longest = 63 - len(f"-{count}")  # the pods' host names are made of it and their index
    name = _manifest.job_name(backend, f"zenml-{step}-{unique.hexdigest()[:12]}", longest)
    made = _manifest.job(backend, name, labels, annotations, {**spec, "template": template})
    del made["spec"]["backoffLimit"]  # indexes have their own
    return made


class _Map:
    def __init__(
        self, backend: ProcessingKubernetesBackend, units: Sequence[Unit], context: MapContext
    ) -> None:
        self._backend = backend
        self._api = connect(backend)
        self._namespace = backend.namespace or self._api.namespace
        # Another run that comes to the same units comes to the same order.
        self._order_context = msgspec.structs.replace(ship_code(context), run=None)
        self._context = msgspec.structs.replace(self._order_context, run=context.run)
        self._store = open_store(context.store)
        self._units: dict[str, Unit] = {}
        self._wanted: dict[str, list[int]] = {}
        for number, unit in enumerate(units):
            digest = unit.digest
            self._units[digest] = unit
            self._wanted.setdefault(digest, []).append(number)
        self._name = ""
        self._place: Place | None = None
        self._asked = False
        self._succeeded: dict[str, set[int]] = {}
        self._met = False
        self._failed_at = 0.0
        self._answered = self._ran = time.monotonic()

    def results(self) -> Iterator[tuple[int, Any]]:
        self._watcher = self._new_watcher()
        try:
            self._place = self._start()
            self._ran = time.monotonic()
            yield from self._follow()
        except BaseException:
            self._give_up()
            raise
        else:
            self._tidy(lambda: remove(self._api, self._known_place()))
        finally:
            self._watcher.stop()

    # -- the Job ---------------------------------------------------------------------------------

    def _start(self) -> Place:
        """Find the Job that an earlier client has begun, or make one."""
        jobs = self._persist(self._watcher.jobs)
        for name, job in jobs.items():
            if not _is_over(job) and self._adopt(name, job):
                return Place(self._namespace, name, "", job["uid"])
        groups = divided(
            list(self._units.values()), self._backend.parallelism, self._backend.units_per_pod
        )
        self._order = WorkOrder.put(self._store, self._order_context, groups)
        self._digests = [[unit.digest for unit in group] for group in groups]
        self._units.clear()
        manifest = manifest_of(self._backend, self._order, self._context, len(groups))
        self._name = manifest["metadata"]["name"]
        if self._name in jobs:
            self._clear_away(jobs[self._name]["uid"])
        self._asked = True
        try:
            return self._persist(lambda: create(self._api, manifest, self._namespace))
        except BackendError:
            self._asked = False  # and refused
            raise

    def _adopt(self, name: str, job: Mapping[str, Any]) -> bool:
        """Whether a Job does all that is wanted, in the pods that are wanted."""
        order = WorkOrder(self._store, self._context.scope, job["digest"] or "")
        try:
            groups = order.groups()
        except Exception:  # noqa: BLE001 - whatever it is, it is not ours
            return False
        manifest = manifest_of(self._backend, order, self._context, len(groups))
        digests = [[unit.digest for unit in group] for group in groups]
        does = {digest for group in digests for digest in group}
        if manifest["metadata"]["name"] != name or not self._wanted.keys() <= does:
            return False
        self._name, self._order, self._digests = name, order, digests
        self._units.clear()
        return True

    def _clear_away(self, uid: str) -> None:
        """Remove a Job that has ended, and whose client did not live to do it."""
        self._persist(lambda: remove(self._api, Place(self._namespace, self._name, "", uid)))
        deadline = time.monotonic() + 60
        while self._name in self._persist(self._watcher.jobs) and time.monotonic() < deadline:
            self._watcher.wait(0.5)

    def _give_up(self) -> None:
        """End the Job and its pods, of which nobody wants anything any more."""
        if not self._asked and self._place is None:
            return

        def end() -> None:
            place = self._known_place()
            remove(self._api, place)
            # The cluster gets to them by and by; those that run are in somebody's way.
            # A unit has nothing to save: what it was at is done again.
            running = [pod for pod in self._look().pods if _is_active(pod)]
            end_pods(self._api, place, running, 1)

        self._tidy(end)

    def _known_place(self) -> Place:
        """Where the Job is, also if we were interrupted while it was made."""
        if self._place is not None:
            return self._place
        found = self._api.find(jobs_in(self._namespace, self._name)) or {"metadata": {"uid": ""}}
        return Place(self._namespace, self._name, "", found["metadata"]["uid"])

    def _tidy(self, call: Callable[[], None]) -> None:
        try:
            with ask(f"the Job '{self._name}'", waiting=True):
                call()
        except Exception as error:  # noqa: BLE001 - what goes before it is worth more
            _log.warning(
                "the Job '%s' in the namespace '%s' could not be removed: %s; the cluster removes "
                "it when it has ended, or 'kubectl delete job' does",
                self._name,
                self._namespace,
                error,
            )

    # -- following it ----------------------------------------------------------------------------

    def _follow(self) -> Iterator[tuple[int, Any]]:
        done: set[int] = set()
        completed = ""
        while True:
            seen = self._persist(self._look)
            finished = self._succeeded.setdefault(self._known_place().uid, set())
            if seen.job is not None and seen.job["completed"] != completed:
                completed = seen.job["completed"]
                finished |= {*indexes_in(completed)}
            if seen.job is None and self._met:
                # Another client of the same Job may have seen it to its end.
                finished |= {*self._left_behind(done)}
            for index in sorted(finished - done):
                done.add(index)
                yield from self._results_of(index)
            if not self._wanted:
                return
            self._judge(seen)
            self._watcher.wait(0.5)

    def _left_behind(self, done: set[int]) -> Iterator[int]:
        """Further indexes that have results."""
        for index in range(len(self._digests)):
            if index not in done and self._order.results(index) is not None:
                yield index

    def _look(self) -> Seen:
        """Our Job, not an earlier one of its name, and its pods that have not succeeded."""
        uid = self._known_place().uid
        if not self._watcher.alive:  # nobody has asked for a result for long
            self._watcher = self._new_watcher()
        seen = self._watcher.look(self._name)
        job = seen.job if seen.job is not None and seen.job["uid"] == uid else None
        return Seen(job, [pod for pod in seen.pods if pod["owner"] == uid])

    def _new_watcher(self) -> Watcher:
        label = safe_segment(self._context.scope)
        selector = f"{_manifest.MANAGED_BY}=zenml,{_MAP}={label}"
        return Watcher(self._api, self._namespace, selector, self._trim)

    def _trim(self, pod: dict[str, Any]) -> dict[str, Any] | None:
        """What to keep of a pod: of one that has succeeded, only that."""
        owner = (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/controller-uid")
        trimmed = {**trim_pod(pod), "owner": owner}
        if trimmed["phase"] == "Succeeded" and trimmed["index"] is not None:
            self._succeeded.setdefault(str(owner), set()).add(int(trimmed["index"]))
            return None
        return trimmed

    def _results_of(self, index: int) -> Iterator[tuple[int, Any]]:
        results = self._order.results(index)
        if results is None:
            self._fail("a unit of work ended its process with exit code 0, before it was done")
        for digest, result in zip(self._digests[index], results, strict=True):
            for number in self._wanted.pop(digest, ()):
                yield number, result

    def _persist(self, call: Callable[[], _T]) -> _T:
        """Ask until there is an answer: a cluster whose API server is away works on."""
        begun = self._place is not None
        while True:
            try:
                with ask(f"Jobs in the namespace '{self._namespace}'", waiting=begun):
                    found = call()
            except ConnectionError as error:
                silence = time.monotonic() - self._answered
                if silence > (_UNANSWERED_FOR if begun else _UNREACHED_FOR):
                    self._fail(f"no answer for {silence:.0f} s: {error}", "LOST")
                self._watcher.wait(1.0)
            else:
                self._answered = time.monotonic()
                return found

    # -- what may go wrong -----------------------------------------------------------------------

    def _judge(self, seen: Seen) -> None:
        """Raise what ends the map."""
        moment = time.monotonic()
        if seen.job is None:
            if not self._met and moment - self._ran < _UNSEEN_FOR:
                return
            self._fail("the Job was deleted before it was done", "LOST")
        self._met = True
        for pod in seen.pods:
            if _code_of(pod) == RAISED:
                self._raise_error_of(int(pod["index"]))
            if _code_of(pod) == REFUSED:
                said = " ".join(pod["containers"][0]["message"].split())
                self._fail(said or "a pod cannot begin its work", "CONFIG", _SEES)
        if "Failed" in seen.job["conditions"]:
            self._failed_at = self._failed_at or moment
            reason, _ = seen.job["conditions"]["Failed"]
            told = any(pod["phase"] == "Failed" for pod in seen.pods)
            if reason == "DeadlineExceeded" or (told and reason != "PodFailurePolicy"):
                self._fail_with(seen)
            # The pods come by a watch of their own, which may be later.
            if moment - self._failed_at > _PODS_AFTER:
                self._fail_with(seen)
            return
        if any(pod["phase"] == "Running" for pod in seen.pods):
            self._ran = moment
            return
        self._judge_waiting(seen, moment)

    def _judge_waiting(self, seen: Seen, moment: float) -> None:
        """Raise if what the pods wait for will not come."""
        waiting = [pod for pod in seen.pods if pod["phase"] == "Pending" and not pod["ending"]]
        seen = Seen(seen.job, waiting[:1])
        place, events = self._known_place(), []
        if moment - self._ran > _EVENTS_AFTER and needs_events(seen):
            events = self._persist(lambda: warnings_about(self._api, place, seen))
        state = state_of(seen, events)
        limit = self._backend.pending_timeout
        if state.phase == "pending" and (state.hopeless or moment - self._ran > limit):
            late = f"no pod found a place to run within {limit:g} s"
            self._fail(state.message or late, state.cause or "UNSCHEDULABLE", state.remedy)

    def _raise_error_of(self, index: int) -> NoReturn:
        error = self._order.error(index)
        if error is None:
            self._fail("a unit of work raised, and could not say what: the store refused it")
        raise error

    def _fail_with(self, seen: Seen) -> NoReturn:
        """Raise why a Job has failed."""
        failed = [pod for pod in seen.pods if pod["phase"] == "Failed"]
        given_up = {*indexes_in(seen.job["failed_indexes"])} if seen.job else set()
        blamed = [pod for pod in failed if int(pod["index"]) in given_up] or failed
        state = state_of(Seen(seen.job, blamed))
        if state.cause is not None:
            self._fail(state.message, state.cause, state.remedy)
        codes = [code for pod in blamed if (code := _code_of(pod)) is not None]
        if not codes:
            self._fail(f"the Job failed{f': {state.message}' if state.message else ''}", "LOST")
        if codes[-1] == AGAIN and (error := self._order.error(int(blamed[-1]["index"]))):
            raise error
        said = " ".join(blamed[-1]["containers"][0]["message"].split())
        if codes[-1] == AGAIN:
            self._fail(said or "the pods cannot reach the store", "INFRA")
        times = len([pod for pod in blamed if pod["index"] == blamed[-1]["index"]])
        how = f"{times} times" if times > 1 else "once"
        if codes[-1] == 1 and said:  # as Python ends if it cannot begin
            said = blamed[-1]["containers"][0]["message"].strip().splitlines()[-1]
            self._fail(f"a pod ended {how}, with exit code 1: {said}", remedy=_NEEDS)
        self._fail(
            f"a unit of work ended its worker process {how} ({_how(codes[-1])})",
            remedy="run the step with a local processing backend to see it fail here",
        )

    def _fail(self, message: str, cause: str | None = None, remedy: str | None = None) -> NoReturn:
        where = f"step '{self._context.step}' (Job '{self._name}' in '{self._namespace}')"
        remedy = remedy or "run again: finished units are kept"
        error = RunError(message, where=where, remedy=remedy)
        error.cause = cause
        raise error


def _is_over(job: Mapping[str, Any]) -> bool:
    """Whether a Job does nothing any more."""
    return job["ending"] or bool(job["conditions"].keys() & {"Complete", "Failed", "FailureTarget"})


def _is_active(pod: Mapping[str, Any]) -> bool:
    return pod["phase"] not in ("Succeeded", "Failed") and not pod["ending"]


def _code_of(pod: Mapping[str, Any]) -> int | None:
    """The exit code of a pod's work, if it has ended."""
    found = (c["code"] for c in pod["containers"] if c["name"] == _manifest.CONTAINER)
    return next(found, None)


def _how(code: int) -> str:
    try:
        return f"signal {signal.Signals(code - 128).name}"
    except ValueError:
        return f"exit code {code}"
