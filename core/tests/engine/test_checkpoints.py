"""Checkpoints: a step that was interrupted goes on, and one that cannot begins anew."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from zenml.core import ArtifactStore, Blob
from zenml.core.engine._gc import collect, find_garbage
from zenml.core.errors import StepFailedError
from zenml.pipelines import StepContext, step

#: What each execution of the step began from, and when to be interrupted.
began: list[Any] = []
interrupted: set[int] = set()

LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    began.clear()
    interrupted.clear()
    yield
    interrupted.clear()


def count(context: StepContext, to: int) -> dict[str, Any]:
    """Count, and leave a checkpoint at each number, with bytes."""
    checkpoint = context.last_checkpoint()
    began.append(checkpoint["number"] if checkpoint else None)
    number = checkpoint["number"] if checkpoint else 0
    text = context.files.fetch(Blob(*checkpoint["text"])).read_bytes() if checkpoint else b""
    while number < to:
        if number in interrupted:
            raise ValueError(f"interrupted at {number}")
        number, text = number + 1, text + b"%d" % number
        blob = context.files.put_bytes(text)
        context.save_checkpoint({"number": number, "text": [blob.digest, blob.size]})
    return {"text": text.decode()}


@step
def counted(context: StepContext, to: int) -> dict[str, Any]:
    return count(context, to)


@step(kind="training")
def trained(context: StepContext, to: int) -> dict[str, Any]:
    return count(context, to)


@step
def saves(context: StepContext, kind: str) -> None:
    values = {"nan": float("nan"), "object": object(), "bytes": b"bytes"}
    context.save_checkpoint({"field": values[kind]})


@step
def gives_back(context: StepContext) -> str:
    context.save_checkpoint({"tuple": (1, (2,)), "b": None, "a": 0.1})
    context.save_checkpoint({"tuple": (1, (2,)), "b": None, "a": 0.2})
    return repr(context.last_checkpoint())


def run_one(new_pipeline: Any, made: Any, **options: Any) -> Any:
    pipeline = new_pipeline(**options)
    pipeline.add_step(made, name="only")
    return pipeline.run()


def interrupt(new_pipeline: Any, made: Any, at: int, **options: Any) -> None:
    interrupted.add(at)
    with pytest.raises(StepFailedError, match=f"interrupted at {at}"):
        run_one(new_pipeline, made, **options)
    interrupted.clear()


def checkpoints(store: ArtifactStore) -> list[str]:
    return [item.key for item in store.list("units/") if item.key.endswith("/checkpoint.json")]


def age_everything(store: Any) -> None:
    for path in store.root.rglob("*"):
        if path.is_file():
            os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.mark.parametrize("kind", [counted, trained])
def test_another_run_goes_on_from_the_newest(new_pipeline: Any, kind: Any) -> None:
    interrupt(new_pipeline, kind(to=5), at=3)
    assert run_one(new_pipeline, kind(to=5)).load("only") == {"text": "01234"}
    assert began == [None, 3]


def test_other_work_begins_from_its_beginning(new_pipeline: Any) -> None:
    interrupt(new_pipeline, counted(to=5), at=3)
    assert run_one(new_pipeline, counted(to=4)).load("only") == {"text": "0123"}
    assert began == [None, None]


def test_without_the_cache_it_is_the_run_s_own(new_pipeline: Any) -> None:
    interrupt(new_pipeline, counted(to=5), at=3, enable_cache=False)
    run_one(new_pipeline, counted(to=5), enable_cache=False)
    assert began == [None, None]


def test_it_comes_back_as_json_brings_it(new_pipeline: Any) -> None:
    said = run_one(new_pipeline, gives_back()).load("only")
    assert said == repr({"a": 0.2, "b": None, "tuple": [1, [2]]})


@pytest.mark.parametrize(
    ("kind", "why"), [("nan", "it.field is nan"), ("object", "object"), ("bytes", "bytes")]
)
def test_it_is_plain_data(new_pipeline: Any, kind: str, why: str) -> None:
    with pytest.raises(StepFailedError, match=why) as failed:
        run_one(new_pipeline, saves(kind=kind))
    assert "a checkpoint cannot hold that" in str(failed.value)
    assert "files.put()" in str(failed.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b'{"other": 1}', b'{"checkpoint": {"number": 3}, "digest": "0"}'],
)
def test_one_that_cannot_be_read_is_none_with_a_warning(
    new_pipeline: Any, store: ArtifactStore, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    interrupt(new_pipeline, counted(to=5), at=3)
    [key] = checkpoints(store)
    store.write(key, content)
    with caplog.at_level(logging.WARNING):
        assert run_one(new_pipeline, counted(to=5)).load("only") == {"text": "01234"}
    assert began == [None, None]
    assert "the checkpoint cannot be read, so the step begins anew" in caplog.text


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_one_whose_bytes_are_not_there_is_none_with_a_warning(
    new_pipeline: Any, store: ArtifactStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    interrupt(new_pipeline, counted(to=5), at=3)
    for item in list(store.list("data/")):
        if damage == "missing":
            store.delete(item.key)
        else:
            store.write(item.key, b"torn")
    assert run_one(new_pipeline, counted(to=5)).load("only") == {"text": "01234"}
    assert began == [None, None]
    assert f"stored bytes are {'missing' if damage == 'missing' else 'damaged'}" in caplog.text


def test_it_goes_with_the_artifacts_that_somebody_removes(
    new_pipeline: Any, store: ArtifactStore, zenml: Any
) -> None:
    run = run_one(new_pipeline, counted(to=3))
    zenml("artifact", "rm", run.steps["only"].outputs["output"])
    interrupt(new_pipeline, counted(to=3), at=1)
    assert run_one(new_pipeline, counted(to=3)).load("only") == {"text": "012"}
    # Not from that of the run whose artifact was removed, but from that of the one after it.
    assert began == [None, None, 1]


class TestGarbage:
    def test_the_newest_and_its_bytes_stay(self, new_pipeline: Any, store: Any) -> None:
        interrupt(new_pipeline, counted(to=5), at=3)
        age_everything(store)

        collect(store, list(find_garbage(store, grace=timedelta(minutes=60))))

        [blob] = [item.key for item in store.list("data/")]  # and no earlier one's
        assert store.read(blob) == b"012"
        run_one(new_pipeline, counted(to=5))
        assert began == [None, 3]

    def test_that_of_a_finished_step_goes(self, new_pipeline: Any, store: Any) -> None:
        run_one(new_pipeline, counted(to=3))
        assert len(checkpoints(store)) == 1
        age_everything(store)

        collect(store, list(find_garbage(store, grace=timedelta(minutes=60))))

        assert checkpoints(store) == []
        assert list(store.list("data/")) == []
