"""What the job suites put to a backend: pipelines, single jobs, and clients of their own."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any, NamedTuple

import msgspec

from zenml.core.contracts._backend import Backend, BackendKind
from zenml.core.contracts._job import Handle, Job, JobBackend, JobState, LogPage
from zenml.core.contracts._store import ArtifactStore
from zenml.core.engine._as_job import step_request
from zenml.core.engine._run import Run
from zenml.core.engine._session import Session
from zenml.core.engine._steps import StepRunner
from zenml.core.errors import RunCancelledError
from zenml.core.jobs import JobRun
from zenml.core.jobs._patience import patiently
from zenml.core.jobs._task import JobOutcome, read_outcome
from zenml.core.plan import Plan
from zenml.core.plugins._registry import get_registry
from zenml.core.stores._open import open_store
from zenml.core.testing._processes import wait_until
from zenml.core.testing._user_project import UserProject, new_marks, said_by
from zenml.pipelines import Pipeline

__all__ = ["Asked", "JobBench"]


class Asked(NamedTuple):
    """A job that was asked for, and what it leaves.

    Attributes:
        run: Its attempts, seen from a client.
        marks: Key prefix under which its work leaves a mark each time that it begins.
        cancel: Ends it when it is set.
    """

    run: JobRun
    marks: str
    cancel: threading.Event


class JobBench:
    """Puts work to a backend, and looks at what comes of it.

    Args:
        kind: orchestrator or training.
        project: Where the work's code is.
        store_url: Where everything goes.
        patience: Seconds that anything may take.
    """

    def __init__(
        self, kind: BackendKind, project: UserProject, store_url: str, patience: float
    ) -> None:
        self.kind = kind
        self.project = project
        self.store: ArtifactStore = open_store(store_url)
        self.store.prepare()
        self.patience = patience

    # -- pipelines -------------------------------------------------------------------------------

    def pipeline(
        self, how: str, marks: str, *, name: str = "conformance", step: str = "right"
    ) -> Pipeline:
        """Two steps of which one behaves as ``how`` says, and a third that adds their results."""
        code = self.project.code
        # Marks go where the work is, but it does not depend on where that is.
        given = {"store": self.store.url, "marks": marks}
        made = Pipeline(name)
        made.add_step(code.work(how="fine", factor=1, **given), name="left")
        right = code.train if self.kind == "training" else code.work
        made.add_step(right(how=how, **given), name=step)
        made.add_step(code.add(), name="sum", inputs={"left": "left", "right": step})
        return made

    def backends(self, backend: Backend | None) -> list[Backend]:
        """``backend`` for its kind, and this process for the others."""
        code = self.project.code
        here = {"orchestrator": code.Here(), "processing": code.InOrder()}
        here["training"] = code.TrainsHere()
        return [*({**here, self.kind: backend} if backend is not None else here).values()]

    def run(
        self,
        backend: Backend | None,
        how: str = "fine",
        marks: str | None = None,
        *,
        store: ArtifactStore | None = None,
        **names: str,
    ) -> Run:
        """Run that pipeline; None for a backend means in this process."""
        made = self.pipeline(how, marks or new_marks(), **names)
        return made.run(
            backends=self.backends(backend), artifact_store=store or self.store, progress=False
        )

    # -- single jobs -----------------------------------------------------------------------------

    def ask(self, backend: JobBackend, how: str = "fine", **changes: Any) -> Asked:
        """A job of one step that behaves as ``how`` says; nothing is started yet.

        Args:
            backend: What is to carry it.
            how: See ``conformance_code.work``.
            changes: To the task that the runner is given.
        """
        marks = new_marks()
        code = self.project.code
        made = Pipeline("conformance")
        work = code.train if self.kind == "training" else code.work
        made.add_step(work(how=how, store=self.store.url, marks=marks), name="work")
        plan = made.build(backends=self.backends(backend))
        session = Session(plan, self.store, get_registry())
        session.register(remote=True)
        if self.kind == "orchestrator":
            run = session.job(backend)
        else:
            run = self._trainer(backend, plan, session)
        if changes:
            task = msgspec.structs.replace(run.request.task, **changes)
            run.request = msgspec.structs.replace(run.request, task=task)
        return Asked(run, marks, session.cancel)

    def _trainer(self, backend: JobBackend, plan: Plan, session: Session) -> JobRun:
        registry = get_registry()
        runner = StepRunner(
            plan=plan,
            run_id=session.run_id,
            store=self.store,
            registry=registry,
            cancel=threading.Event(),
        )
        key, _, _ = runner.look_up(plan.steps["work"], {})
        request = step_request(
            plan, registry, session.run_id, backend, "work", {}, key, runner.code()
        )
        return JobRun(backend, self.store, request, cancelled=session.cancel.is_set)

    def wait(self, asked: Asked) -> None:
        """See a job to its end, as a client would, but no longer than there is patience for."""
        late = threading.Timer(self.patience, asked.cancel.set)
        late.start()
        try:
            asked.run.wait()
        except RunCancelledError:
            if asked.cancel.is_set():
                raise AssertionError(f"the job did not end within {self.patience} s") from None
            raise
        finally:
            late.cancel()

    def marks(self, prefix: str) -> int:
        """How often work has begun that leaves its marks there."""
        return sum(1 for _ in self.store.list(f"{prefix}/"))

    def wait_for_marks(self, prefix: str, count: int = 1) -> None:
        """Wait until work has begun."""
        wait_until(
            lambda: self.marks(prefix) >= count, timeout=self.patience, what="the work's beginning"
        )

    def outcome(self, asked: Asked, attempt: int = 1) -> JobOutcome:
        """How an attempt ended."""
        found = read_outcome(self.store, f"{asked.run.folder}/{attempt}")
        assert found is not None, f"attempt {attempt} has no outcome in the store"
        return found

    def end_of(self, backend: JobBackend, handle: Handle) -> JobState:
        """Poll until the service says that the job has ended."""

        def look() -> JobState | None:
            state = self.poll(backend, handle)
            return state if state.ended else None

        state: JobState = wait_until(
            look, timeout=self.patience, what=f"the end of {handle.job}, as poll() tells it,"
        )
        return state

    # -- a backend's verbs, asked again while its service cannot be reached, as clients do ---------

    def submit(self, backend: JobBackend, job: Job) -> Handle:
        return patiently(lambda: backend.submit(job))

    def find(self, backend: JobBackend, job: Job) -> Handle | None:
        return patiently(lambda: backend.find(job))

    def poll(self, backend: JobBackend, handle: Handle) -> JobState:
        return patiently(lambda: backend.poll(handle))

    def logs(self, backend: JobBackend, handle: Handle, cursor: str = "") -> LogPage:
        return patiently(lambda: backend.logs(handle, cursor))

    def cancel(self, backend: JobBackend, handle: Handle, grace: float) -> None:
        patiently(lambda: backend.cancel(handle, grace))

    def cleanup(self, backend: JobBackend, handle: Handle) -> None:
        patiently(lambda: backend.cleanup(handle))

    # -- what is left ----------------------------------------------------------------------------

    def log(self, asked: Asked, attempt: int = 1) -> str:
        """The log of an attempt, as the store has it."""
        prefix = f"{asked.run.folder}/{attempt}/log-"
        chunks = [self.store.read(found.key) for found in self.store.list(prefix)]
        return b"".join(chunks).decode()

    # -- clients of their own --------------------------------------------------------------------

    def client(self, do: str, backend: Backend, **arguments: Any) -> subprocess.Popen[str]:
        """Start a process that does one thing with the backend; it prints JSON.

        Args:
            do: A function of ``zenml.core.testing._client``.
            backend: Made anew there, from its class and its parameters.
            arguments: Plain data for that function.
        """
        return self.project.start_client(
            "zenml.core.testing._client",
            backend,
            do=do,
            kind=self.kind,
            folder=str(self.project.folder.parent),
            store=self.store.url,
            arguments=arguments,
        )

    def ask_client(self, do: str, backend: Backend, **arguments: Any) -> Any:
        """Have such a process do its thing; returns what it said."""
        client = self.client(do, backend, **arguments)
        output, errors = said_by(client, self.patience, f"'{do}'")
        assert client.returncode == 0, f"'{do}' in another process failed:\n{errors}"
        return json.loads(output.splitlines()[-1])
