"""The engine: executes a plan, wherever it stands. Independent steps run at the same time."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from zenml.core.contracts._backend import OrchestratorBackend
from zenml.core.contracts._job import JobBackend
from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._as_job import (
    SentCode,
    end_jobs,
    headline,
    job_of_run,
    say,
    see_plan_through,
    start_plan,
)
from zenml.core.engine._keys import Inputs
from zenml.core.engine._records import (
    Outcome,
    RunLog,
    RunStarted,
    RunStatus,
    StepRecord,
    new_run_id,
    now,
)
from zenml.core.engine._steps import StepResult, StepRunner, elapsed, failure_of
from zenml.core.errors import (
    IntegrityError,
    RunCancelledError,
    RunError,
    StepFailedError,
    StoreError,
    ZenMLError,
)
from zenml.core.jobs import JobFailedError, JobRun, request_cancel
from zenml.core.jobs._interrupt import AGAIN
from zenml.core.plan._model import INPUT, Plan, PlannedStep
from zenml.core.plugins._registry import Registry

__all__ = ["Observer", "Session"]

#: How many steps an engine waits for at once, if each is a job and nobody says otherwise.
_WAITS_FOR = 200

#: Told of every step as it starts and ends. Called from the engine's threads, one call at a time.
Observer = Callable[[StepRecord], None]


class Session:
    """One run of one plan; implements ``PlanWork``.

    Args:
        plan: What is done.
        store: Where results go.
        registry: What is installed.
        run_id: The run, if it is not a new one.
        attempt: Which attempt at it.
        observers: Told of every step.
        code: The code that jobs are sent, if some was sent before.
        orchestrator: Says how an engine in this process has steps executed; None: by itself.
    """

    def __init__(
        self,
        plan: Plan,
        store: ArtifactStore,
        registry: Registry,
        *,
        run_id: str | None = None,
        attempt: int = 1,
        observers: Sequence[Observer] = (),
        code: SentCode | None = None,
        orchestrator: OrchestratorBackend | None = None,
    ) -> None:
        self.plan = plan
        self.store = store
        self.registry = registry
        self.run_id = run_id or new_run_id()
        self.observers = observers
        self.cancel = threading.Event()
        self.code = code
        self.step_backend = orchestrator.step_backend() if orchestrator is not None else None
        self._log = RunLog(store, self.run_id, attempt)

    @property
    def plan_digest(self) -> str:
        return self.plan.digest

    @property
    def store_url(self) -> str:
        return self.store.url

    def register(self, *, remote: bool = False, resumes: str = "") -> None:
        """Write down the plan and that a run of it begins. Nothing has run before this.

        Args:
            remote: Whether a job will run it, which outlives this process.
            resumes: The run whose plan it takes up again.
        """
        self.store.prepare()
        key = f"plans/{self.plan.digest}.json"
        written = self.store.write_if_absent(key, self.plan.encoded)
        # What is there may be damaged, or hold the same steps in another order.
        if not written and self.store.read(key) != self.plan.encoded:
            self.store.write(key, self.plan.encoded)
        self._log.begin(
            RunStarted(
                run=self.run_id,
                pipeline=self.plan.pipeline,
                plan=self.plan.digest,
                orchestrator=self.plan.orchestrator.type,
                started=now(),
                host=socket.gethostname(),
                pid=os.getpid(),
                remote=remote,
                resumes=resumes,
            )
        )

    def execute_here(self, *, max_parallel_steps: int | None = None) -> None:
        """Execute the plan in this process. See ``PlanWork``."""
        begun = time.perf_counter()
        self._log.start_pulse()
        self.registry.announce(
            "zenml_run_started",
            run_id=self.run_id,
            pipeline=self.plan.pipeline,
            plan_digest=self.plan.digest,
            store_url=self.store.url,
        )
        most = (os.cpu_count() or 1) if self.step_backend is None else _WAITS_FOR
        execution = _Execution(self, max_parallel_steps or most)
        error: BaseException | None = None
        try:
            error = execution.run()
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._finish(execution.counts, error, begun)
        if error is not None:
            raise error

    def execute_as_job(self, backend: JobBackend) -> None:
        """Have a job execute the plan. See ``PlanWork``."""
        see_plan_through(self._job_or_outcome(backend), self.registry)

    def start_as_job(self, backend: JobBackend) -> None:
        """Have a job execute the plan, and do not wait for it."""
        start_plan(self._job_or_outcome(backend), self.registry)

    def prepare_as_job(self, backend: JobBackend) -> Any:
        """Have all stored that a job needs to execute the plan; returns its specification."""
        with self._refused():
            return self.job(backend).prepare()

    def _job_or_outcome(self, backend: JobBackend) -> JobRun:
        with self._refused():
            return self.job(backend)

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        """See that a run has an outcome whose job cannot even be asked for."""
        try:
            yield
        except BaseException as error:
            self._finish(Counter(), error, time.perf_counter())
            raise

    def job(self, backend: JobBackend) -> JobRun:
        """The job that would execute the plan."""
        return job_of_run(
            self.plan,
            self.store,
            self.registry,
            self.run_id,
            backend,
            self.observers,
            self.cancel.is_set,
            self.code,
        )

    def _finish(self, counts: Counter[str], error: BaseException | None, begun: float) -> None:
        status: RunStatus = "succeeded"
        if isinstance(error, (RunCancelledError, KeyboardInterrupt)):
            status = "cancelled"
        elif error is not None:
            status = "failed"
        root = error.__cause__ if isinstance(error, StepFailedError) and error.__cause__ else error
        failure = failure_of(root) if root is not None else None
        outcome = Outcome(
            status=status,
            finished=now(),
            seconds=elapsed(begun),
            counts=dict(sorted(counts.items())),
            failure=failure,
        )
        try:
            self._log.finish(outcome)
        except StoreError:
            self._log.abandon()
            if error is None:
                raise  # everything succeeded and the record of it could not be written: say so
        self.registry.announce(
            "zenml_run_finished",
            run_id=self.run_id,
            status=status,
            error=failure.message if failure is not None else None,
        )

    def tell(self, record: StepRecord) -> None:
        """Record an event and pass it on."""
        self._log.append(record)
        for observer in self.observers:
            # Whoever read the display may have gone; the run goes on.
            with contextlib.suppress(OSError):
                observer(record)
        if record.status != "running":
            self.registry.announce(
                "zenml_step_finished",
                run_id=self.run_id,
                step=record.step,
                status=record.status,
                outputs=record.outputs,
                seconds=record.seconds,
            )


class _Execution:
    """One pass over the graph."""

    def __init__(self, session: Session, limit: int) -> None:
        self.session = session
        self.limit = limit
        self.steps = session.plan.steps
        self.counts: Counter[str] = Counter()
        self.runner = StepRunner(
            plan=session.plan,
            run_id=session.run_id,
            store=session.store,
            registry=session.registry,
            cancel=session.cancel,
            step_backend=session.step_backend,
            code=session.code,
        )
        self._outputs: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._waits_for: dict[str, int] = {}
        self._feeds: dict[str, list[str]] = defaultdict(list)
        self._ready: deque[str] = deque()
        self._settled: set[str] = set()
        self._error: BaseException | None = None
        self._tell_lock = threading.Lock()
        self._tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[str, StepResult | BaseException, float, str]] = (
            queue.SimpleQueue()
        )
        self._threads: list[threading.Thread] = []
        for name, step in self.steps.items():
            sources = _sources(step)
            self._waits_for[name] = len(sources)
            for source in sources:
                self._feeds[source].append(name)
            if not sources:
                self._ready.append(name)

    def run(self) -> BaseException | None:
        """Execute everything that can be; returns the first failure."""
        running = 0
        try:
            while self._ready or running:
                if len(self._ready) == 1 and not running:
                    # Nothing else can become ready before it is done, so no thread is needed.
                    self._settle(*self._attempt(self._ready.popleft()))
                    continue
                while self._ready and running < self.limit:
                    self._hand_out(self._ready.popleft(), running)
                    running += 1
                self._settle(*self._done.get())
                running -= 1
        except KeyboardInterrupt:
            self._interrupt(running)
            raise
        finally:
            for _ in self._threads:
                self._tasks.put(None)
        self._skip_the_rest()
        return self._error

    def _interrupt(self, running: int) -> None:
        """Ctrl-C: start nothing more, let what runs come to a point where it can stop."""
        session = self.session
        try:  # the second one may come while the first is being answered
            session.cancel.set()
            self._ready.clear()
            if running:
                say(f"cancelling run {session.run_id}: {running} running; {AGAIN}")
            while running:
                self._settle(*self._done.get())
                running -= 1
        except KeyboardInterrupt:
            # A thread ends with this process; a job that one of them waits for does not.
            request_cancel(session.store, session.run_id)
            end_jobs(session.store, session.registry, session.run_id, 0.0)
            raise
        self._skip_the_rest("cancelled")

    def _hand_out(self, name: str, running: int) -> None:
        if len(self._threads) == running:  # none of them is idle
            # Daemons: a second Ctrl-C leaves at once, whatever a step is doing.
            thread = threading.Thread(target=self._serve, name="zenml-step", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._tasks.put(name)

    def _serve(self) -> None:
        while (name := self._tasks.get()) is not None:
            self._done.put(self._attempt(name))

    def _attempt(self, name: str) -> tuple[str, StepResult | BaseException, float, str]:
        begun, started = time.perf_counter(), now()
        planned = self.steps[name]
        inputs = self._resolve(planned)

        def announce(key: str) -> None:
            self._tell(
                StepRecord(step=name, status="running", key=key, inputs=inputs, started=started)
            )

        result: StepResult | BaseException
        try:
            result = self.runner.run(name, planned, inputs, announce)
        except KeyboardInterrupt:
            if threading.current_thread() is threading.main_thread():
                self.session.cancel.set()
                self._record(name, planned, KeyboardInterrupt(), elapsed(begun), started)
                raise
            result = KeyboardInterrupt()
        except BaseException as error:  # noqa: BLE001 - a step may raise anything, even SystemExit
            result = error
        return name, result, elapsed(begun), started

    def _resolve(self, planned: PlannedStep) -> Inputs:
        def digest(reference: str) -> str:
            return self._outputs.get(reference) or reference.removeprefix("sha256:")

        return {
            name: digest(value) if isinstance(value, str) else [digest(item) for item in value]
            for name, value in planned.inputs.items()
        }

    def _settle(
        self, name: str, result: StepResult | BaseException, seconds: float, started: str
    ) -> None:
        self._record(name, self.steps[name], result, seconds, started)
        if isinstance(result, BaseException):
            if failure_of(result).type == IntegrityError.__name__:
                self._distrust(name)
            self._fail(name, result)
            return
        self._keys[name] = result.key
        for output, digest in result.record.outputs.items():
            self._outputs[f"{name}.{output}"] = digest
        for other in self._feeds[name]:
            self._waits_for[other] -= 1
            if not self._waits_for[other] and self._error is None:
                self._ready.append(other)

    def _record(
        self,
        name: str,
        planned: PlannedStep,
        result: StepResult | BaseException,
        seconds: float,
        started: str,
    ) -> None:
        self._settled.add(name)
        inputs = self._resolve(planned)
        if isinstance(result, BaseException):
            failure = failure_of(result)
            record = StepRecord(
                step=name,
                status="cancelled" if failure.cause == "CANCELLED" else "failed",
                inputs=inputs,
                started=started,
                seconds=seconds,
                failure=failure,
            )
        else:
            record = StepRecord(
                step=name,
                status="cached" if result.cached else "succeeded",
                key=result.key,
                inputs=inputs,
                fingerprint=result.fingerprint,
                outputs=result.record.outputs,
                started=started,
                seconds=seconds,
                made_by=result.record.run if result.cached else "",
            )
        self.counts[record.status] += 1
        self._tell(record)

    def _distrust(self, name: str) -> None:
        """Have a step's inputs be made again by the next attempt, or run: some are damaged."""
        for source in _sources(self.steps[name]):
            # The store may be what fails; then it is for the next one that finds the same.
            with contextlib.suppress(StoreError):
                self.runner.forget(self._keys[source])

    def _fail(self, name: str, error: BaseException) -> None:
        self._ready.clear()
        if self._error is not None:
            return
        if isinstance(error, (StoreError, RunCancelledError, KeyboardInterrupt)):
            self._error = error
            return
        failure = failure_of(error)
        said = error.message if isinstance(error, ZenMLError) else failure.message
        where = f" ({error.where})" if isinstance(error, ZenMLError) and error.where else ""
        listed = str(error).partition("\n")[2] if hasattr(error, "problems") else ""
        words = f"{failure.type}: {said}"
        if isinstance(error, JobFailedError):
            words = headline(failure)
        failed = StepFailedError(
            f"step '{name}' failed: {words}{where}" + (f"\n{listed}" if listed else ""),
            step=name,
            run_id=self.session.run_id,
            traceback_text=failure.traceback or None,
            remedy=getattr(error, "remedy", None)
            or "mend it and run again: finished steps are kept",
        )
        failed.__cause__ = error
        self._error = failed

    def _skip_the_rest(self, status: Any = "skipped") -> None:
        if self._error is None and status == "skipped":
            left = [name for name in self.steps if name not in self._settled]
            if left:  # the plan was validated, so this is a fault of the engine
                self._error = RunError(f"steps never became ready: {', '.join(left[:5])}")
            return
        for name in self.steps:
            if name not in self._settled:
                self.counts[status] += 1
                self._tell(StepRecord(step=name, status=status))

    def _tell(self, record: StepRecord) -> None:
        with self._tell_lock:
            try:
                self.session.tell(record)
            except StoreError as error:
                # The store that cannot take the record will not take the next step either.
                self._error = self._error or error
                self._ready.clear()


def _sources(step: PlannedStep) -> set[str]:
    """The steps that make a step's inputs."""
    matches = (INPUT.fullmatch(reference) for reference in step.references())
    return {match["step"] for match in matches if match and match["step"]}
