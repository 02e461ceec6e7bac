"""The order of steps: what must wait waits, what need not runs at the same time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from zenml.core.errors import PipelineImmutableError
from zenml.core.testing import nothing_left_behind
from zenml.pipelines import step

meeting: list[threading.Barrier] = []
inside: list[int] = [0]
most: list[int] = [0]
allowed: list[int] = [0]
room = threading.Condition()


@pytest.fixture(autouse=True)
def forget() -> None:
    meeting.clear()
    inside[0] = most[0] = 0


@step
def one() -> int:
    return 1


@step
def meet(number: int) -> int:
    """Comes back only when all have come."""
    meeting[0].wait(30)
    return number


@step
def count(number: int) -> int:
    with room:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        room.notify_all()
        room.wait_for(lambda: most[0] >= allowed[0], timeout=30)
        # One more than allowed would be let in meanwhile, and be seen.
        room.wait_for(lambda: most[0] > allowed[0], timeout=0.005)
        inside[0] -= 1
    return number


@step
def itself(number: int) -> int:
    return number


@step
def add(values: list[int]) -> int:
    return sum(values)


@step
def increment(value: int) -> int:
    return value + 1


@step
def nothing(value: int | None = None) -> str:
    return repr(value)


def test_independent_steps_run_at_the_same_time(new_pipeline: Any) -> None:
    meeting.append(threading.Barrier(4))
    pipeline = new_pipeline(steps=4)
    names = [pipeline.add_step(meet(number=number), name=f"s{number}") for number in range(4)]
    pipeline.add_step(add(), inputs={"values": names})

    with nothing_left_behind():
        assert pipeline.run().load("add") == 6


@pytest.mark.parametrize("limit", [1, 2, 8])
def test_no_more_steps_run_at_once_than_allowed(new_pipeline: Any, limit: int) -> None:
    allowed[0] = limit
    pipeline = new_pipeline(steps=limit)
    for number in range(40):
        pipeline.add_step(count(number=number))

    run = pipeline.run()

    assert len(run.steps) == 40
    assert most[0] == limit


def test_a_fan_of_a_thousand_joined_by_one(new_pipeline: Any) -> None:
    pipeline = new_pipeline(steps=8)
    names = [pipeline.add_step(itself(number=number)) for number in range(1000)]
    pipeline.add_step(add(), inputs={"values": names})

    with nothing_left_behind():
        run = pipeline.run()

    assert run.load("add") == 499_500
    again = pipeline.run()
    assert again.outcome is not None
    assert again.outcome.counts == {"cached": 1001}
    assert again.load("add") == 499_500


def test_a_chain_of_a_thousand(new_pipeline: Any) -> None:
    pipeline = new_pipeline()
    last = pipeline.add_step(one())
    for _ in range(1000):
        last = pipeline.add_step(increment(), inputs={"value": last})

    assert pipeline.run().load(last) == 1001


def test_a_diamond_gets_each_value_once(new_pipeline: Any) -> None:
    pipeline = new_pipeline(steps=2)
    top = pipeline.add_step(one())
    left = pipeline.add_step(increment(), name="left", inputs={"value": top})
    right = pipeline.add_step(increment(), name="right", inputs={"value": left})
    pipeline.add_step(add(), inputs={"values": [left, right, top, top]})

    assert pipeline.run().load("add") == 2 + 3 + 1 + 1


def test_an_input_that_may_be_left_out_may_be_left_out(new_pipeline: Any) -> None:
    pipeline = new_pipeline()
    pipeline.add_step(nothing())

    assert pipeline.run().load("nothing") == "None"


def test_an_artifact_that_exists_already_can_be_an_input(new_pipeline: Any) -> None:
    first = new_pipeline("first")
    first.add_step(one())
    digest = first.run().steps["one"].outputs["output"]
    second = new_pipeline("second")
    second.add_step(increment(), inputs={"value": f"sha256:{digest}"})

    assert second.run().load("increment") == 2


def test_a_pipeline_that_has_run_runs_again_and_cannot_be_changed(new_pipeline: Any) -> None:
    pipeline = new_pipeline()
    pipeline.add_step(one())
    assert pipeline.run().id < pipeline.run().id

    with pytest.raises(PipelineImmutableError, match="copy"):
        pipeline.add_step(one())
    other = pipeline.copy("other")
    other.add_step(increment(), inputs={"value": "one"})
    assert list(other.run().steps) == ["one", "increment"]
    assert list(pipeline.steps) == ["one"]
