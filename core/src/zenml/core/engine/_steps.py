"""Runs one step: cache look-up, inputs, work, outputs, commit."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, get_args

from zenml.core._backends import make_backend
from zenml.core._canonical import canonical, check_plain, from_json
from zenml.core.contracts._artifact import Files
from zenml.core.contracts._backend import BackendConfig, ProcessingBackend, TrainingBackend
from zenml.core.contracts._job import JobBackend
from zenml.core.contracts._step import Step
from zenml.core.contracts._store import ArtifactStore
from zenml.core.contracts._units import MapContext, Unit, UnitFunction
from zenml.core.engine._as_job import SentCode, send_code, step_request, wait_for
from zenml.core.engine._checkpoints import read_checkpoint, write_checkpoint
from zenml.core.engine._files import StoreFiles
from zenml.core.engine._keys import (
    CacheRecord,
    Inputs,
    cache_key,
    commit_key,
    read_record,
    write_record,
)
from zenml.core.engine._records import Cause, Failure, now
from zenml.core.engine._units import finished_units
from zenml.core.engine._values import (
    artifact_key,
    load_value,
    read_artifact,
    save_value,
    write_artifact,
)
from zenml.core.errors import (
    IntegrityError,
    ObjectNotFoundError,
    RunCancelledError,
    RunError,
    StoreError,
    ZenMLError,
)
from zenml.core.jobs import CancelLook, JobFailedError
from zenml.core.plan._model import Plan, PlannedStep
from zenml.core.plan._sources import make_step, roots_of
from zenml.core.plugins import API_VERSION
from zenml.core.plugins._entry_points import normalise
from zenml.core.plugins._registry import Registry
from zenml.core.sources import reference
from zenml.core.sources._locate import distribution_of, locate

__all__ = ["StepResult", "StepRunner", "failure_of"]

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

#: Characters of a message or a traceback that a record keeps.
_LONGEST = 20_000

_CORE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class StepResult(NamedTuple):
    """What came of a step.

    Attributes:
        key: Its cache key.
        record: Its commit.
        cached: Whether the commit was there already.
        fingerprint: What its source looked like, for steps that read one.
    """

    key: str
    record: CacheRecord
    cached: bool
    fingerprint: Any


class StepRunner:
    """Runs the steps of one run, in whatever threads the session uses.

    Args:
        plan: What they belong to.
        run_id: The run.
        store: Where everything is.
        registry: What is installed.
        cancel: Ends them when it is set.
        step_backend: Carries each step as a job of its own; None: they run here.
        code: The code that jobs are sent, if some was sent before.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        run_id: str,
        store: ArtifactStore,
        registry: Registry,
        cancel: threading.Event,
        step_backend: JobBackend | None = None,
        code: SentCode | None = None,
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self.store = store
        self.registry = registry
        self.roots = roots_of(plan)
        self.cancel = cancel
        self.asked = CancelLook(store, run_id)
        self._step_backend = step_backend
        self._code = code
        self._code_lock = threading.Lock()
        self._lock = threading.Lock()
        self._backends: dict[tuple[str, bytes], Any] = {}

    def look_up(self, planned: PlannedStep, inputs: Inputs) -> tuple[str, CacheRecord | None, Any]:
        """The step's key, its commit if there is a usable one, and its fingerprint."""
        fingerprint = make_step(planned, self.roots).fingerprint() if planned.external else None
        key = cache_key(planned, inputs, fingerprint, self.run_id)
        return key, usable_record(self.store, key, planned), fingerprint

    def run(
        self,
        name: str,
        planned: PlannedStep,
        inputs: Inputs,
        started: Callable[[str], None] | None = None,
    ) -> StepResult:
        """Run the step unless its result is there. Raises what the step raised."""
        key, record, fingerprint = self.look_up(planned, inputs)
        if record is not None:
            return StepResult(key, record, True, fingerprint)
        if started is not None:
            started(key)
        work = _Work(self, name, planned, inputs, key)
        trainer = self.backend(planned) if planned.kind == "training" else None
        if self._step_backend is not None and not isinstance(trainer, JobBackend):
            work.execute_as_job(self._step_backend, of_plan=True)
        else:
            work.execute(trainer)
        record = work.record or usable_record(self.store, key, planned)
        illegible = record is None and read_record(self.store, key) is None
        if illegible and self.store.exists(commit_key(key)):
            raise IntegrityError(
                "the commit of a step is damaged",
                where=f"{commit_key(key)} in {self.store.url}",
                remedy="run again: the step is done again",
            )
        if record is None:
            raise RunError(
                f"backend '{planned.backend.type}' returned and the step has no result",
                where=f"step '{name}' of run {self.run_id}",
                remedy="report it to the authors of the backend",
            )
        return StepResult(key, record, False, fingerprint)

    def execute(self, name: str, inputs: Inputs, key: str, *, own_backend: bool = False) -> None:
        """Do the work of a step whose key and inputs another engine has settled, and commit it.

        Args:
            name: The step.
            inputs: Its inputs.
            key: Its cache key.
            own_backend: Whether a trainer's own backend is to train it.
        """
        planned = self.plan.steps[name]
        if usable_record(self.store, key, planned) is None:
            trained = own_backend and planned.kind == "training"
            work = _Work(self, name, planned, inputs, key)
            work.execute(self.backend(planned) if trained else None)

    def code(self) -> SentCode:
        """The code that jobs are sent; stored once for all of a run."""
        with self._code_lock:
            self._code = self._code or send_code(self.plan, self.store, self.registry)
            return self._code

    def forget(self, key: str) -> None:
        """Have a step be done again by whoever needs it next, from its beginning.

        The artifacts stay: another step may have made the same, and they may be whole.
        """
        for found in self.store.list(f"units/{key}/"):
            self.store.delete(found.key)
        self.store.delete(commit_key(key))

    def backend(self, planned: PlannedStep) -> Any:
        """The step's backend, made once per run."""
        identity = (planned.kind, canonical(planned.backend))
        with self._lock:
            if identity not in self._backends:
                config = BackendConfig(planned.backend.type, planned.backend.args)
                self._backends[identity] = make_backend(planned.kind, config, self.registry)  # type: ignore[arg-type]
            return self._backends[identity]

    def load_inputs(self, step: Step, inputs: Inputs, files: Files) -> dict[str, Any]:
        """The values of a step's inputs."""
        return {
            name: self._value(name, digests, files)
            if isinstance(digests, str)
            else [self._value(name, digest, files) for digest in digests]
            for name, digests in inputs.items()
        }

    def _value(self, name: str, digest: str, files: Files) -> Any:
        try:
            artifact = read_artifact(digest, self.store)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(
                f"the artifact store does not hold the artifact that input '{name}' names",
                where=error.where,
                remedy="run in the artifact store that it was made in, or make it again",
            ) from error
        return load_value(artifact, files, self.registry)


def usable_record(store: ArtifactStore, key: str, planned: PlannedStep) -> CacheRecord | None:
    """The commit under a key, if every artifact that it must name is still there."""
    record = read_record(store, key)
    if record is None or record.outputs.keys() != set(planned.outputs):
        return None
    if all(store.exists(artifact_key(digest)) for digest in record.outputs.values()):
        return record
    return None


def is_stale(store: ArtifactStore, key: str, planned: PlannedStep) -> bool:
    """Whether there is a commit under a key that is of no use: its artifacts were removed."""
    return read_record(store, key) is not None and usable_record(store, key, planned) is None


class _Work:
    """Implements ``StepWork``: one step of one run, with its key and inputs settled."""

    def __init__(
        self, runner: StepRunner, name: str, planned: PlannedStep, inputs: Inputs, key: str
    ) -> None:
        self.runner = runner
        self.planned = planned
        self._inputs = inputs
        self.step = name
        self.key = key
        self.record: CacheRecord | None = None

    @property
    def run_id(self) -> str:
        return self.runner.run_id

    def execute_here(self) -> None:
        runner = self.runner
        if is_stale(runner.store, self.key, self.planned):
            # Whoever removed the step's artifacts did not trust the bytes that it made.
            runner.forget(self.key)
        with StoreFiles(runner.store) as files:
            try:
                digests = self._make_outputs(files)
            except Exception as error:
                if not isinstance(error, (StoreError, RunCancelledError)):
                    self._probe_store()
                raise
        record = CacheRecord(outputs=digests, run=runner.run_id, step=self.step)
        stale = is_stale(runner.store, self.key, self.planned)
        self.record = write_record(runner.store, self.key, record, replace=stale)

    def _make_outputs(self, files: StoreFiles) -> dict[str, str]:
        """Run the step and store what it returns; output name to artifact digest."""
        runner = self.runner
        step = make_step(self.planned, runner.roots)
        inputs = runner.load_inputs(step, self._inputs, files)
        outputs = step.call(inputs, _Context(self, files))
        if runner.cancel.is_set():
            raise RunCancelledError("the run was cancelled", where=f"step '{self.step}'")
        digests = {}
        for name, value in outputs.items():
            try:
                artifact = save_value(value, files, runner.registry)
            except ZenMLError as error:
                error.where = error.where or f"output '{name}' of step '{self.step}'"
                raise
            digests[name] = write_artifact(artifact, runner.store)
        return digests

    def _probe_store(self) -> None:
        """Raise ``StoreError`` if the store is broken.

        Scratch files are on its disk, so a step may meet what ails it first, and be blameless.
        """
        self.runner.store.write(f"runs/{self.run_id}/alive.json", canonical({"at": now()}))

    def execute(self, trainer: TrainingBackend | None) -> None:
        """Execute the step; have a backend train it, if there is one."""
        if trainer is None:
            self.execute_here()
        else:
            trainer.train(self)

    def execute_as_job(self, backend: JobBackend, *, of_plan: bool = False) -> None:
        runner = self.runner
        request = step_request(
            runner.plan,
            runner.registry,
            runner.run_id,
            backend,
            self.step,
            self._inputs,
            self.key,
            runner.code(),
            of_plan=of_plan,
        )
        wait_for(
            backend,
            runner.store,
            request,
            runner.cancel.is_set,
            runner.asked,
            lambda: usable_record(runner.store, self.key, self.planned) is not None,
        )

    def map(
        self, function: UnitFunction, payloads: Iterable[Any], imports: Iterable[str]
    ) -> list[Any]:
        """See ``StepContext.map``."""
        runner = self.runner
        name = reference(function)
        units = [
            Unit(name, self._plain(payload, index), self.planned.code)
            for index, payload in enumerate(payloads)
        ]
        digests = [unit.digest for unit in units]
        scope = f"units/{self.key}"
        results = finished_units(runner.store, scope, digests)
        # Equal units have equal results, so each is done once.
        left = list({d: u for d, u in zip(digests, units, strict=True) if d not in results}.items())
        if left:
            backend: ProcessingBackend = runner.backend(self.planned)
            context = MapContext(
                store=runner.store.url,
                scope=scope,
                step=self.step,
                import_roots=runner.roots,
                requires=self._required(imports),
                sources={self.planned.source: self.planned.code},
                run=runner.run_id,
            )
            iterator = backend.map([unit for _, unit in left], context)
            try:
                for index, result in iterator:
                    results[left[index][0]] = result
                    if runner.cancel.is_set():
                        raise RunCancelledError(
                            "the run was cancelled", where=f"step '{self.step}'"
                        )
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
        missing = sum(digest not in results for digest in digests)
        if missing:
            raise RunError(
                f"backend '{self.planned.backend.type}' lost {missing} of {len(units)} units",
                where=f"step '{self.step}' of run {runner.run_id}",
                remedy="run again: finished units are kept",
            )
        return [results[digest] for digest in digests]

    def _required(self, imports: Iterable[str]) -> dict[str, str]:
        """The distributions that this step's units need, wherever they are executed."""
        config, registry = self.planned.backend, self.runner.registry
        required = {"zenml-core": f"api {API_VERSION}"}
        if not config.type.startswith("import:"):
            plugin = registry.find("processing", config.type).plugin
            if plugin.version:
                required[normalise(plugin.distribution)] = plugin.version
        closure = self.runner.plan.code.get(self.planned.code)
        for name in imports:
            location = locate(name)
            found = location and distribution_of(location)
            if found:
                required[found[0]] = found[1]
        return required | (closure.distributions if closure else {})

    def _plain(self, payload: Any, index: int) -> Any:
        """A payload as a worker in another process would read it."""
        unfit = check_plain(payload, f"payload {index}")
        if unfit:
            raise ZenMLError(
                f"a unit of work cannot be given that: {unfit}",
                where=f"step '{self.step}'",
                remedy="pass plain data, and put everything else with files.put()",
            )
        return from_json(canonical(payload))


class _Context:
    """Implements ``StepContext``."""

    def __init__(self, work: _Work, files: StoreFiles) -> None:
        self._work = work
        self._files = files
        self.step = work.step
        self.run_id = work.run_id
        self.log = logging.getLogger(f"zenml.step.{work.step}")

    @property
    def files(self) -> Files:
        return self._files

    def map(
        self, function: UnitFunction, payloads: Iterable[Any], *, imports: Iterable[str] = ()
    ) -> list[Any]:
        if self._work.planned.kind != "processing":
            # A trainer has no workers of its own: its units run one by one, where it runs.
            return [function(payload, self._files) for payload in payloads]
        return self._work.map(function, payloads, imports)

    def save_checkpoint(self, value: Any) -> None:
        write_checkpoint(self._work.runner.store, self._work.key, value, f"step '{self.step}'")

    def last_checkpoint(self) -> Any:
        return read_checkpoint(self._work.runner.store, self._work.key, self._files, self.log)

    def cancelled(self) -> bool:
        return self._work.runner.cancel.is_set()


def failure_of(error: BaseException) -> Failure:
    """Why a step failed, in the words of the record."""
    if isinstance(error, JobFailedError):
        return error.failure
    cause: Cause = "USER_ERROR"
    if isinstance(error, MemoryError):
        cause = "OOM"
    elif isinstance(error, (RunCancelledError, KeyboardInterrupt)):
        cause = "CANCELLED"
    elif isinstance(error, RunError) and error.cause in get_args(Cause):
        cause = error.cause  # type: ignore[assignment]
    elif isinstance(error, StoreError) or getattr(error, "errno", None) in _DISK_FULL:
        cause = "INFRA"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_CORE_FOLDER)]
    text = ""
    if own and not isinstance(error, ZenMLError):
        text = "".join(traceback.StackSummary.from_list(own).format())
    name = type(error).__name__
    return Failure(cause=cause, type=name, message=message_of(error), traceback=_recordable(text))


def message_of(error: BaseException) -> str:
    """What an exception says, as text that can be recorded, whatever its author did."""
    try:
        text = str(error)
    except Exception as second:  # noqa: BLE001 - an exception that cannot be shown is still one
        text = f"(its message cannot be shown: {type(second).__name__})"
    return _recordable(text)


def _recordable(text: str) -> str:
    """No more than a record should hold, and nothing that UTF-8 cannot."""
    if len(text) > _LONGEST:
        half = _LONGEST // 2
        text = f"{text[:half]}\n… {len(text) - _LONGEST} characters …\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def elapsed(since: float) -> float:
    """Seconds since a reading of ``time.perf_counter()``, to the microsecond."""
    return round(time.perf_counter() - since, 6)
