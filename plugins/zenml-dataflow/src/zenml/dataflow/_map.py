"""Maps: an order in the store, one Dataflow job that carries it out, and results as they come."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec

from zenml.core import MapContext, PlacedOrder, Unit, open_store, safe_segment, ship_code
from zenml.core.errors import (
    BackendError,
    ConfigurationError,
    Problem,
    RunError,
    StoreUnavailableError,
)
from zenml.dataflow._api import SECONDS, ask, connect, see_folder
from zenml.dataflow._options import DataflowOptions
from zenml.dataflow._states import ENDED, failure_of
from zenml.dataflow._submit import distributions_of, staging_of, submit

if TYPE_CHECKING:
    from zenml.dataflow.processing import ProcessingDataFlowBackend

__all__ = ["job_name_of", "map_units", "size_of"]

#: Seconds that Dataflow may be away.
_UNANSWERED_FOR: Final = 300.0

#: Seconds between two looks at the store, and at the job: they grow from the first to the second.
_STORE_EVERY: Final = (0.05, 1.0)
_JOB_EVERY: Final = (0.2, 5.0)

#: Seconds in which what a job that is done has written must be seen.
_SEEN_IN: Final = 10.0

#: How many indexes an order has at most, unless ``units_per_task`` says otherwise.
_MOST_INDEXES: Final = 4000

#: States in which a job waits for what it needs, by name.
_WAITING: Final = frozenset({"UNKNOWN", "STOPPED", "PENDING", "QUEUED"})

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def map_units(
    backend: ProcessingDataFlowBackend, units: Sequence[Unit], context: MapContext
) -> Iterator[tuple[int, Any]]:
    """See ``ProcessingBackend.map``."""
    if units:
        yield from _Map(backend, units, context).results()


def size_of(options: DataflowOptions, count: int) -> int:
    """How many of ``count`` units are one index."""
    if options.units_per_task is not None:
        return options.units_per_task
    processors = re.search(r"-custom-(\d+)-|-(\d+)$", options.machine_type)
    each = int(processors[1] or processors[2]) if processors else 1
    places = options.max_num_workers * each * options.threads
    return max(1, -(-count // min(8 * places, _MOST_INDEXES)))


def job_name_of(options: DataflowOptions, step: str, digest: str) -> str:
    """The name of the job that carries out an order: of the same order, with the same parameters.

    Dataflow has one active job of a name, so a client that was started again finds its job.
    """
    how = options.parameters()
    unique = hashlib.sha256(json.dumps([digest, how], sort_keys=True, default=str).encode())
    # Beside these, a segment has 13 characters of its own, and there may be a number behind all.
    return f"{options.job_name}-{safe_segment(step, limit=10)}-{unique.hexdigest()[:12]}"


class _Map:
    def __init__(
        self, backend: ProcessingDataFlowBackend, units: Sequence[Unit], context: MapContext
    ) -> None:
        self._backend = backend
        self._step = context.step
        self._job = ""
        self._name = ""
        self._asked = False
        self._found = False
        _refuse_unreachable(backend, context.store)
        self._clients = connect(backend)
        requires = {**distributions_of(units), **context.requires}
        self._context = msgspec.structs.replace(ship_code(context), requires=requires)
        self._units = units
        self._begun = self._answered = time.monotonic()

    def results(self) -> Iterator[tuple[int, Any]]:
        store = open_store(self._context.store)
        size = size_of(self._backend, len(self._units))
        self._placed = PlacedOrder(store, self._context, self._units, size)
        self._units = ()
        self._base = job_name_of(self._backend, self._step, self._placed.order.digest)
        self._name = self._base
        # Another client may have had it done.
        yield from self._placed.results()
        if self._placed.is_done:
            return
        self._see_folders()
        try:
            self._start()
            yield from self._follow()
        except BaseException:
            self._give_up()
            raise

    # -- the job ---------------------------------------------------------------------------------

    def _see_folders(self) -> None:
        """Raise ``StoreError`` if there is no bucket to stage in: Beam would try for minutes."""
        for url in (self._backend.staging_location, self._backend.temp_location):
            if url is not None:
                see_folder(self._backend, url)

    def _start(self) -> None:
        """Find the job that an earlier client has begun, or submit one."""
        self._job = ""
        while not self._job:
            # Looked for each time: a submission whose answer was lost may have made it.
            self._job = self._persist(lambda: self._find() or self._submit())
        _log.info("step '%s' is %s", self._step, self._where())

    def _find(self) -> str:
        """The job of our name that is there and goes on; gives us another name if one is ending."""
        active = {}
        types = self._clients.types
        request = types.ListJobsRequest(
            project_id=self._backend.project,
            location=self._backend.region,
            filter=types.ListJobsRequest.Filter.ACTIVE,
        )
        for job in self._clients.jobs.list_jobs(request, retry=None, timeout=SECONDS):
            active[job.name] = job
        number = 1
        while (job := active.get(self._name)) is not None:
            if _state(job) not in ("CANCELLING", "DRAINING", *ENDED):
                self._found = not self._asked
                return str(job.id)
            number += 1
            self._name = f"{self._base}-{number}"
        return ""

    def _submit(self) -> str:
        from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError
        from requests import RequestException

        self._asked = True
        self._found = False
        try:
            return submit(self._backend, self._name, self._placed, self._context)
        except DataflowJobAlreadyExistsError:
            return ""  # it is to be found now
        except RequestException:
            raise  # which is an OSError, too
        except OSError as error:  # as Beam says what Cloud Storage refuses
            said = f"what a job needs cannot be staged: {error}"
            raise BackendError(said, remedy="check staging_location=") from error

    def _give_up(self) -> None:
        """Cancel the job, of which nobody wants anything any more."""
        if not self._asked and not self._job:
            return
        for pause in (1.0, 2.0, 4.0, 8.0, 0.0):
            try:
                with ask(self._backend, f"the end of the job '{self._name}'", waiting=True):
                    self._cancel(self._job or self._find())
                return
            except ConnectionError as error:
                failed: Exception = error
                time.sleep(pause)
            except Exception as error:  # noqa: BLE001 - what goes before it is worth more
                failed = error
                break
        _log.warning(
            "the job '%s' could not be cancelled: %s; 'gcloud dataflow jobs cancel %s "
            "--region=%s --project=%s' does",
            self._name,
            failed,
            self._job or "ID",
            self._backend.region,
            self._backend.project,
        )

    def _cancel(self, job: str) -> None:
        from google.api_core.exceptions import BadRequest

        if not job:
            return
        types = self._clients.types
        request = types.UpdateJobRequest(
            project_id=self._backend.project,
            location=self._backend.region,
            job_id=job,
            job=types.Job(requested_state=types.JobState.JOB_STATE_CANCELLED),
        )
        try:
            self._clients.jobs.update_job(request, retry=None, timeout=SECONDS)
        except BadRequest:
            found = self._look(job)
            if found is not None and _state(found) not in ENDED:
                raise

    # -- following it ----------------------------------------------------------------------------

    def _follow(self) -> Iterator[tuple[int, Any]]:
        pause, job_pause = _STORE_EVERY[0], _JOB_EVERY[0]
        looked, done_since, runs = 0.0, 0.0, False
        while True:
            yield from self._results()
            if self._placed.is_done:
                return  # the job has nothing left to do, and ends by itself
            moment = time.monotonic()
            if moment - looked > job_pause:
                looked, job_pause = moment, min(job_pause * 1.5, _JOB_EVERY[1])
                job = self._persist(lambda: self._look(self._job))
                if job is None or _state(job) != "DONE":
                    self._judge(job, moment)
                    if not runs and _state(job) == "RUNNING":
                        pause, runs = _STORE_EVERY[0], True  # small maps are over soon
                elif done_since and moment - done_since > _SEEN_IN:
                    if not self._found:
                        self._fail("the job is done, and results are missing", "LOST")
                    # It was another client's, and had met an error that is of no concern now.
                    done_since = 0.0
                    self._start()
                else:
                    done_since, job_pause = done_since or moment, _JOB_EVERY[0]
            # Also while results come: each look is a listing, which is paid for.
            pause = min(pause * 1.1, _STORE_EVERY[1])
            time.sleep(pause)

    def _results(self) -> list[tuple[int, Any]]:
        """What there is in the store by now; nothing while it does not answer."""
        found = []
        try:
            for result in self._placed.results():
                found.append(result)  # noqa: PERF402 - those before an error are results
        except StoreUnavailableError as error:
            _log.debug("the store does not answer: %s", error)
        return found

    def _look(self, job: str) -> Any:
        from google.api_core.exceptions import NotFound

        types = self._clients.types
        request = types.GetJobRequest(
            project_id=self._backend.project, location=self._backend.region, job_id=job
        )
        try:
            return self._clients.jobs.get_job(request, retry=None, timeout=SECONDS)
        except NotFound:
            return None

    def _persist(self, call: Callable[[], _T]) -> _T:
        """Ask until there is an answer: a job whose client hears nothing works on."""
        while True:
            try:
                with ask(self._backend, f"the job '{self._name}'", waiting=bool(self._job)):
                    found = call()
            except ConnectionError as error:
                silence = time.monotonic() - self._answered
                if silence > _UNANSWERED_FOR:
                    self._fail(f"no answer for {silence:.0f} s: {error}", "LOST")
                time.sleep(1.0)
            else:
                self._answered = time.monotonic()
                return found

    # -- what may go wrong -----------------------------------------------------------------------

    def _judge(self, job: Any, moment: float) -> None:
        """Raise what ends the map."""
        if job is None:
            self._fail("Dataflow does not know the job any more", "LOST")
        state = _state(job)
        if state in ("CANCELLED", "CANCELLING", "DRAINING", "DRAINED"):
            self._fail("somebody cancelled the job", "CANCELLED")
        if state == "FAILED":
            failure = failure_of(self._persist(self._errors))
            self._fail(failure.message, failure.cause, failure.remedy)
        if state in ENDED:
            self._fail(f"the job is not ours any more: it is {state.lower()}", "LOST")
        waited = moment - self._begun
        if self._backend.timeout is not None and waited > self._backend.timeout:
            limit = f"it took longer than {self._backend.timeout:g} s"
            self._fail(limit, "TIMEOUT", "a longer timeout=, or more workers")
        if state in _WAITING and waited > self._backend.pending_timeout:
            limit = f"the job did not begin within {self._backend.pending_timeout:g} s"
            self._fail(limit, "UNSCHEDULABLE", "a longer pending_timeout=, or another region=")

    def _errors(self) -> list[str]:
        types = self._clients.types
        request = types.ListJobMessagesRequest(
            project_id=self._backend.project,
            location=self._backend.region,
            job_id=self._job,
            minimum_importance=types.JobMessageImportance.JOB_MESSAGE_ERROR,
        )
        messages = self._clients.messages.list_job_messages(request, retry=None, timeout=SECONDS)
        return [str(message.message_text) for message in messages]

    def _where(self) -> str:
        place = f"{self._backend.region}/{self._job}?project={self._backend.project}"
        return f"https://console.cloud.google.com/dataflow/jobs/{place}"

    def _fail(self, message: str, cause: str | None = None, remedy: str | None = None) -> NoReturn:
        where = f"step '{self._step}'"
        if self._job:
            where += f" (job '{self._name}', {self._job}, in '{self._backend.region}')"
        remedy = remedy or "run again: finished units are kept"
        error = RunError(message, where=where, remedy=remedy)
        error.cause = cause
        raise error


def _state(job: Any) -> str:
    return str(job.current_state.name).removeprefix("JOB_STATE_")


def _refuse_unreachable(options: DataflowOptions, store: str) -> None:
    """Workers see no folder of this machine, and something has to be staged for them."""
    problems = []
    if store.startswith("file:"):
        problems.append(
            Problem(
                "artifact_store",
                f"{store} is a folder of this machine, which Dataflow does not see",
                "keep artifacts in a bucket: artifact_store='gs://BUCKET/FOLDER'",
            )
        )
    elif staging_of(options, store) is None:
        problems.append(
            Problem(
                "staging_location",
                "says where pipelines and packages are staged, where the artifact store does not",
                "staging_location='gs://BUCKET/FOLDER'",
            )
        )
    if problems:
        raise ConfigurationError("the step cannot run on Dataflow", problems)
