"""What happens when steps do not do what they should."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zenml.core import ArtifactStore, Run
from zenml.core.engine import Session, StepRecord
from zenml.core.errors import (
    DataError,
    RunCancelledError,
    RunError,
    StepFailedError,
    StoreError,
    StoreUnavailableError,
)
from zenml.core.testing import nothing_left_behind
from zenml.pipelines import StepContext, step
from zenml.repo import Repository

ran: list[str] = []
#: Shared between the test and the steps of one run.
events: dict[str, threading.Event] = {}
mended: list[bool] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    for kept in (ran, events, mended):
        kept.clear()


class HasNoMessageError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class CannotBePickledError(Exception):
    def __init__(self) -> None:
        super().__init__(lambda: None, threading.Lock())


def deep() -> None:
    deep()


def raised(name: str) -> BaseException:
    return {
        "value": ValueError("a user's own"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "memory": MemoryError(),
        "stop": StopIteration("early"),
        "generator exit": GeneratorExit(),
        "no message": HasNoMessageError(),
        "unpicklable": CannotBePickledError(),
        "huge": ValueError("x" * 5_000_000),
        "surrogate": ValueError("broken \udcff name"),
        "disk": OSError(28, "No space left on device"),
        "data": DataError("no such column", where="column 'x'", remedy="name one of: y"),
        "store": StoreError("not a key"),
        "told": _told("OOM"),
    }[name]


def _told(cause: str) -> RunError:
    error = RunError("a worker took more memory than it may")
    error.cause = cause
    return error


@step
def begin() -> int:
    ran.append("begin")
    return 1


@step
def fail(value: int, name: str) -> int:
    if name == "deep":
        deep()
    raise raised(name)


@step
def follow(value: int) -> int:
    ran.append("follow")
    return value


@step
def mendable(value: int) -> int:
    ran.append("mendable")
    if not mended:
        raise ValueError("not mended yet")
    return value


@step
def waits_for(event: str, sets: str = "") -> str:
    if sets:
        events[sets].set()
    assert events[event].wait(30)
    ran.append(f"waited for {event}")
    return event


@step
def waits_and_fails(event: str) -> None:
    assert events[event].wait(30)
    raise ValueError("on purpose")


@step
def cancels(context: StepContext) -> int:
    assert not context.cancelled()
    events["cancel now"].set()
    assert events["cancelled"].wait(30)
    assert context.cancelled()
    ran.append("ended after the cancel")
    return 1


@step
def breaks_the_store(value: int, how: str) -> int:
    root = Path(Repository.get_instance().artifact_store.root)  # type: ignore[attr-defined]
    root.rename(root.with_name("elsewhere"))
    if how == "empty mount point":
        root.mkdir()
    return 1


@step
def writes_after_the_store_broke(context: StepContext, how: str) -> Path:
    scratch = context.files.scratch
    root = Path(Repository.get_instance().artifact_store.root)  # type: ignore[attr-defined]
    root.rename(root.with_name("elsewhere"))
    if how == "scratch":
        (scratch / "file").write_text("x")
    return scratch / "file"


def three(new_pipeline: Any, middle: Any, **options: Any) -> Any:
    pipeline = new_pipeline(**options)
    pipeline.add_step(begin())
    pipeline.add_step(middle, name="middle", inputs={"value": "begin"})
    pipeline.add_step(follow(), inputs={"value": "middle"})
    return pipeline


def last_run(store: ArtifactStore) -> Run:
    newest = [found.key for found in store.list("runs/")][-1]
    return Run(newest.split("/")[1], store)


def statuses(run: Run) -> dict[str, str]:
    return {name: record.status for name, record in run.steps.items()}


@pytest.mark.parametrize("beside", [False, True], ids=["in the main thread", "in a thread"])
@pytest.mark.parametrize(
    ("name", "cause", "says"),
    [
        ("value", "USER_ERROR", "ValueError: a user's own"),
        ("exit", "USER_ERROR", "SystemExit: 3"),
        ("memory", "OOM", "MemoryError"),
        ("stop", "USER_ERROR", "StopIteration: early"),
        ("generator exit", "USER_ERROR", "GeneratorExit"),
        ("no message", "USER_ERROR", r"HasNoMessageError: .*cannot be shown: RuntimeError"),
        ("unpicklable", "USER_ERROR", "CannotBePickledError"),
        ("huge", "USER_ERROR", r"… 49\d+ characters …"),
        ("surrogate", "USER_ERROR", r"broken \\udcff name"),
        ("disk", "INFRA", "No space left"),
        ("data", "USER_ERROR", r"no such column \(column 'x'\)(.|\n)*name one of: y"),
        ("deep", "USER_ERROR", "RecursionError"),
        ("told", "OOM", "a worker took more memory"),
    ],
)
def test_whatever_a_step_raises_is_one_typed_failure_on_the_record(
    new_pipeline: Any, store: ArtifactStore, name: str, cause: str, says: str, *, beside: bool
) -> None:
    pipeline = three(new_pipeline, fail(name=name), steps=2)
    if beside:  # then two steps become ready at once, and neither runs in the main thread
        pipeline.add_step(follow(), name="other", inputs={"value": "begin"})

    with nothing_left_behind(), pytest.raises(StepFailedError, match=says) as failed:
        pipeline.run()

    assert failed.value.step == "middle"
    assert len(str(failed.value)) < 100_000
    run = last_run(store)
    assert failed.value.run_id == run.id
    assert run.status == "failed"
    assert statuses(run)["begin"] == "succeeded"
    assert statuses(run)["follow"] == "skipped"
    failure = run.steps["middle"].failure
    assert failure is not None
    assert failure.cause == cause
    assert run.outcome is not None
    assert run.outcome.failure == failure
    if name not in ("data", "told"):
        assert "test_failures.py" in failure.traceback
        assert "zenml/core/engine" not in failure.traceback
    assert len(failure.traceback) + len(failure.message) < 100_000


def test_an_interrupt_that_a_step_raises_is_a_cancel(
    new_pipeline: Any, store: ArtifactStore
) -> None:
    with nothing_left_behind(), pytest.raises(KeyboardInterrupt):
        three(new_pipeline, fail(name="interrupt")).run()

    run = last_run(store)
    assert run.status == "cancelled"
    assert statuses(run) == {"begin": "succeeded", "middle": "cancelled", "follow": "cancelled"}


def test_a_store_error_in_a_step_is_raised_as_it_is(
    new_pipeline: Any, store: ArtifactStore
) -> None:
    with pytest.raises(StoreError, match="not a key"):
        three(new_pipeline, fail(name="store")).run()

    failure = last_run(store).steps["middle"].failure
    assert failure is not None
    assert failure.cause == "INFRA"


def test_after_mending_only_what_failed_and_what_follows_is_done(new_pipeline: Any) -> None:
    with pytest.raises(StepFailedError):
        three(new_pipeline, mendable()).run()
    mended.append(True)

    run = three(new_pipeline, mendable()).run()

    assert ran == ["begin", "mendable", "mendable", "follow"]
    assert statuses(run) == {"begin": "cached", "middle": "succeeded", "follow": "succeeded"}


def test_a_branch_that_runs_while_another_fails_is_finished_and_kept(
    new_pipeline: Any, store: ArtifactStore
) -> None:
    for name in ("slow has begun", "the other has failed"):
        events[name] = threading.Event()

    def pipeline() -> Any:
        made = new_pipeline(steps=2)
        made.add_step(waits_for(event="the other has failed", sets="slow has begun"), name="slow")
        made.add_step(waits_and_fails(event="slow has begun"), name="failing")
        made.add_step(follow(), name="after_slow", inputs={"value": "slow"})
        return made

    def tell(record: StepRecord) -> None:
        if record.status == "failed":
            events["the other has failed"].set()

    registry = Repository.get_instance().registry
    session = Session(pipeline().build(), store, registry, observers=[tell])
    session.register()
    with nothing_left_behind(), pytest.raises(StepFailedError, match="on purpose"):
        session.execute_here(max_parallel_steps=2)

    assert statuses(last_run(store)) == {
        "slow": "succeeded",
        "failing": "failed",
        "after_slow": "skipped",
    }
    assert ran == ["waited for the other has failed"]
    with pytest.raises(StepFailedError):
        pipeline().run()
    assert statuses(last_run(store))["slow"] == "cached"


def test_a_cancelled_run_says_so_and_its_result_is_not_committed(
    new_pipeline: Any, store: ArtifactStore
) -> None:
    events["cancel now"], events["cancelled"] = threading.Event(), threading.Event()
    pipeline = new_pipeline()
    pipeline.add_step(cancels())
    session = Session(pipeline.build(), store, Repository.get_instance().registry)
    session.register()

    def cancel() -> None:
        events["cancel now"].wait(30)
        session.cancel.set()
        events["cancelled"].set()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with nothing_left_behind(), pytest.raises(RunCancelledError):
        session.execute_here()
    canceller.join()

    assert ran == ["ended after the cancel"]
    run = Run(session.run_id, store)
    assert run.status == "cancelled"
    assert statuses(run) == {"cancels": "cancelled"}
    assert list(store.list("cache/")) == []


class TestStoreThatBreaks:
    @pytest.mark.parametrize("how", ["gone", "empty mount point"])
    def test_it_is_a_typed_error_and_what_was_committed_is_there_when_it_is_back(
        self, new_pipeline: Any, store: Any, capsys: pytest.CaptureFixture[str], how: str
    ) -> None:
        pipeline = new_pipeline()
        pipeline.add_step(begin())
        pipeline.add_step(breaks_the_store(how=how), inputs={"value": "begin"})

        with nothing_left_behind(), pytest.raises(StoreUnavailableError):
            pipeline.run()

        assert "zenml repo reindex" in capsys.readouterr().err
        if how == "gone":
            assert not store.root.exists()
        else:
            assert list(store.root.iterdir()) == []
            store.root.rmdir()
        store.root.with_name("elsewhere").rename(store.root)
        assert last_run(store).status in ("running", "failed")  # this process still lives
        again = new_pipeline()
        again.add_step(begin())
        assert statuses(again.run()) == {"begin": "cached"}
        assert ran == ["begin"]

    @pytest.mark.parametrize("how", ["scratch", "result"])
    def test_a_step_that_meets_it_first_does_not_take_the_blame(
        self, new_pipeline: Any, store: Any, how: str
    ) -> None:
        pipeline = new_pipeline()
        pipeline.add_step(writes_after_the_store_broke(how=how))

        with pytest.raises(StoreUnavailableError):
            pipeline.run()

    def test_a_record_that_cannot_be_written_at_the_very_end_is_said(
        self, new_pipeline: Any, store: Any
    ) -> None:
        # Everything succeeded, and nobody could know later: that is no success.
        pipeline = new_pipeline()
        pipeline.add_step(begin())

        def take_away(record: StepRecord) -> None:
            if record.status == "succeeded":
                store.root.rename(store.root.with_name("elsewhere"))

        session = Session(
            pipeline.build(), store, Repository.get_instance().registry, observers=[take_away]
        )
        session.register()

        with nothing_left_behind(), pytest.raises(StoreUnavailableError):
            session.execute_here()


def test_a_display_that_nobody_reads_any_more_does_not_end_the_run(
    new_pipeline: Any, store: ArtifactStore
) -> None:
    def closed(record: StepRecord) -> None:
        raise BrokenPipeError

    pipeline = three(new_pipeline, follow())
    session = Session(
        pipeline.build(), store, Repository.get_instance().registry, observers=[closed]
    )
    session.register()
    session.execute_here()

    assert Run(session.run_id, store).status == "succeeded"


def test_a_failure_shows_the_users_line_and_what_to_do_on_the_command_line(
    new_pipeline: Any, zenml: Callable[..., Any]
) -> None:
    with pytest.raises(StepFailedError) as failed:
        three(new_pipeline, fail(name="value")).run()

    said = zenml("run", "show", failed.value.run_id)

    assert said.code == 0
    assert "middle: USER_ERROR: ValueError" in said.out
    assert "raise raised(name)" in said.out
    assert "a user's own" in said.out
