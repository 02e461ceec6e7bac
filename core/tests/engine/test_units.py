"""Units of work: a step's work in pieces, each of which is remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from zenml.core import (
    ArtifactStore,
    Files,
    MapContext,
    ProcessingBackend,
    Step,
    Unit,
    execute_unit,
)
from zenml.core.errors import RunError, SourceNotImportableError, StepFailedError, ZenMLError
from zenml.core.testing import nothing_left_behind
from zenml.pipelines import StepContext, step

#: How often each payload was worked on.
done: Counter[str] = Counter()
broken: set[int] = set()
closed: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    for kept in (done, broken, closed):
        kept.clear()


class Forgetful(ProcessingBackend):
    """Executes every unit but the last."""

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        for index, unit in enumerate(units[:-1]):
            yield index, execute_unit(unit, context)


class Closing(ProcessingBackend):
    """Remembers that its iterator was closed."""

    def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
        try:
            for index, unit in enumerate(units):
                yield index, execute_unit(unit, context)
        finally:
            closed.append("closed")


def square(payload: int, files: Files) -> int:
    done[str(payload)] += 1
    if payload in broken:
        raise ValueError(f"{payload} is broken")
    return payload * payload


def store_bytes(payload: int, files: Files) -> dict[str, Any]:
    done[str(payload)] += 1
    path = files.scratch / "part"
    path.write_bytes(bytes([payload]) * 1000)
    blob = files.put(path)
    return {"digest": blob.digest, "size": blob.size}


def show(payload: Any, files: Files) -> str:
    return f"{payload!r}"


def spoil(payload: dict[str, Any], files: Files) -> int:
    payload["shared"].append(1)
    return len(payload["shared"])


def give_back(payload: Any, files: Files) -> Any:
    return {"nan": float("nan"), "tuple": (1, (2,)), "object": object(), "order": {"b": 1, "a": 2}}[
        payload
    ]


def stop(payload: Any, files: Files) -> Any:
    raise StopIteration


@step
def squares(context: StepContext, payloads: list[int]) -> list[int]:
    return context.map(square, payloads)


@step
def shown(context: StepContext, kind: str) -> list[Any]:
    shared: list[int] = []
    payloads: dict[str, list[Any]] = {
        "tuple": [(1, 2)],
        "spoilt": [{"shared": shared, "n": 1}, {"shared": shared, "n": 2}],
        "nan": [1.0, float("nan")],
        "integer keys": [{1: 2}],
        "object": [object()],
        "generator": list(range(3)),
    }
    if kind == "generator":
        return context.map(square, (number for number in range(3)))
    if kind == "lambda":
        return context.map(lambda payload, _: payload, [1])
    return context.map(spoil if kind == "spoilt" else show, payloads[kind])


@step
def given_back(context: StepContext, kind: str) -> str:
    [result] = context.map(give_back, [kind])
    return repr(result)


@step
def stopping(context: StepContext) -> Any:
    return context.map(stop, [1, 2])


@step
def parts(context: StepContext, count: int) -> list[Any]:
    return context.map(store_bytes, list(range(count)))


@step(kind="training")
def trained(context: StepContext) -> list[int]:
    return context.map(square, [3, 1, 2])


def run_one(new_pipeline: Any, made: Step, **options: Any) -> Any:
    pipeline = new_pipeline(**options)
    pipeline.add_step(made, name="only")
    return pipeline.run()


def units_of(store: ArtifactStore) -> list[str]:
    return [found.key for found in store.list("units/")]


def test_results_are_in_the_order_of_the_payloads(new_pipeline: Any) -> None:
    # The backend works from the last to the first.
    assert run_one(new_pipeline, squares(payloads=[3, 1, 2])).load("only") == [9, 1, 4]
    assert list(done) == ["2", "1", "3"]


def test_equal_units_are_done_once_and_each_gets_the_result(new_pipeline: Any) -> None:
    assert run_one(new_pipeline, squares(payloads=[2, 3, 2, 2])).load("only") == [4, 9, 4, 4]
    assert done == {"2": 1, "3": 1}


def test_no_payloads_are_no_work(new_pipeline: Any, store: ArtifactStore) -> None:
    assert run_one(new_pipeline, squares(payloads=[])).load("only") == []
    assert units_of(store) == []


def test_a_thousand_units(new_pipeline: Any, store: ArtifactStore) -> None:
    payloads = list(range(1000))
    assert run_one(new_pipeline, squares(payloads=payloads)).load("only") == [
        n * n for n in payloads
    ]
    assert len(units_of(store)) == 1000


def test_after_a_failure_only_the_rest_is_done(new_pipeline: Any) -> None:
    broken.add(2)
    with pytest.raises(StepFailedError, match="2 is broken"):
        run_one(new_pipeline, squares(payloads=[0, 1, 2, 3, 4]))
    assert done == {"4": 1, "3": 1, "2": 1}
    broken.clear()

    run = run_one(new_pipeline, squares(payloads=[0, 1, 2, 3, 4]))

    assert run.load("only") == [0, 1, 4, 9, 16]
    assert done == {"0": 1, "1": 1, "2": 2, "3": 1, "4": 1}


def test_without_the_cache_nothing_is_taken_from_an_earlier_run(new_pipeline: Any) -> None:
    for _ in range(2):
        run_one(new_pipeline, squares(payloads=[1, 2]), enable_cache=False)

    assert done == {"1": 2, "2": 2}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"other": 1}'])
def test_a_remembered_unit_that_cannot_be_read_is_done_again(
    new_pipeline: Any, store: ArtifactStore, content: bytes
) -> None:
    broken.add(0)
    with pytest.raises(StepFailedError):
        run_one(new_pipeline, squares(payloads=[0, 1, 2]))
    broken.clear()
    damaged = units_of(store)[0]
    store.write(damaged, content)

    assert run_one(new_pipeline, squares(payloads=[0, 1, 2])).load("only") == [0, 1, 4]

    assert sum(done.values()) == 5
    assert store.read(damaged).startswith(b'{"result":')


def test_the_bytes_of_units_are_made_again_after_their_artifact_was_removed(
    new_pipeline: Any, store: ArtifactStore, zenml: Any
) -> None:
    # Somebody who removes an artifact does not trust it; what its units made is not trusted either.
    run = run_one(new_pipeline, parts(count=3))
    for part in run.load("only"):
        store.write(f"data/{part['digest']}", b"damaged")
    zenml("artifact", "rm", run.steps["only"].outputs["output"])

    again = run_one(new_pipeline, parts(count=3))

    assert done == {"0": 2, "1": 2, "2": 2}
    assert again.steps["only"].outputs == run.steps["only"].outputs
    for number, part in enumerate(again.load("only")):
        assert store.read(f"data/{part['digest']}") == bytes([number]) * 1000


def test_units_of_a_trainer_run_where_the_trainer_runs(new_pipeline: Any) -> None:
    assert run_one(new_pipeline, trained()).load("only") == [9, 1, 4]


class TestPlainData:
    """What a worker in another process would be given and give back, here too."""

    def test_a_payload_reaches_every_worker_as_json_would_bring_it(self, new_pipeline: Any) -> None:
        assert run_one(new_pipeline, shown(kind="tuple")).load("only") == ["[1, 2]"]

    def test_a_unit_that_spoils_its_payload_spoils_nobody_elses(self, new_pipeline: Any) -> None:
        assert run_one(new_pipeline, shown(kind="spoilt")).load("only") == [1, 1]

    def test_payloads_may_come_one_by_one(self, new_pipeline: Any) -> None:
        assert run_one(new_pipeline, shown(kind="generator")).load("only") == [0, 1, 4]

    @pytest.mark.parametrize(
        ("kind", "says"),
        [
            ("nan", "payload 1 is nan"),
            ("integer keys", "payload 0 has the key 1"),
            ("object", "payload 0 is of type builtins.object"),
        ],
    )
    def test_a_payload_that_json_would_change_is_refused(
        self, new_pipeline: Any, kind: str, says: str
    ) -> None:
        with pytest.raises(StepFailedError, match=says):
            run_one(new_pipeline, shown(kind=kind))

    @pytest.mark.parametrize(
        ("kind", "expected"), [("tuple", "[1, [2]]"), ("order", "{'a': 2, 'b': 1}")]
    )
    def test_a_result_is_the_same_when_it_is_remembered(
        self, new_pipeline: Any, store: ArtifactStore, kind: str, expected: str
    ) -> None:
        first = run_one(new_pipeline, given_back(kind=kind))
        assert first.load("only") == expected
        # As if it had been killed before its commit: the unit is remembered, the step is not.
        store.delete(f"cache/{first.steps['only'].key}.json")

        assert run_one(new_pipeline, given_back(kind=kind)).load("only") == expected

    @pytest.mark.parametrize("kind", ["nan", "object"])
    def test_a_result_that_json_would_change_is_refused_and_not_remembered(
        self, new_pipeline: Any, store: ArtifactStore, kind: str
    ) -> None:
        with pytest.raises(StepFailedError, match="a unit of work cannot return that"):
            run_one(new_pipeline, given_back(kind=kind))

        assert units_of(store) == []

    def test_a_function_that_no_worker_could_find_is_refused(self, new_pipeline: Any) -> None:
        with pytest.raises(StepFailedError, match="inside a function") as failed:
            run_one(new_pipeline, shown(kind="lambda"))

        assert isinstance(failed.value.__cause__, SourceNotImportableError)


class TestBackends:
    def test_one_that_loses_a_unit_is_found_out(self, new_pipeline: Any) -> None:
        with pytest.raises(StepFailedError, match="lost 1 of 3 units") as failed:
            run_one(new_pipeline, squares(payloads=[1, 2, 3]).with_backend(Forgetful()))
        assert isinstance(failed.value.__cause__, RunError)

        # What it did was remembered, so with enough patience even that one comes to an end.
        with pytest.raises(StepFailedError, match="lost 1 of 3 units"):
            run_one(new_pipeline, squares(payloads=[1, 2, 3]).with_backend(Forgetful()))
        assert run_one(new_pipeline, squares(payloads=[1, 2, 3])).load("only") == [1, 4, 9]
        assert done == {"1": 1, "2": 1, "3": 1}

    def test_the_iterator_is_closed_when_a_unit_fails(self, new_pipeline: Any) -> None:
        broken.add(1)

        with nothing_left_behind(), pytest.raises(StepFailedError, match="1 is broken"):
            run_one(new_pipeline, squares(payloads=[0, 1, 2]).with_backend(Closing()))

        assert closed == ["closed"]
        assert done == {"0": 1, "1": 1}

    def test_a_unit_that_ends_an_iteration_does_not_end_the_map(self, new_pipeline: Any) -> None:
        with pytest.raises(StepFailedError, match="StopIteration"):
            run_one(new_pipeline, stopping())


class TestExecuteUnit:
    @pytest.fixture
    def context(self, store: ArtifactStore) -> MapContext:
        store.prepare()
        return MapContext(store=store.url, scope="units/key", step="tested")

    def test_the_first_remembered_result_is_everybodys(
        self, store: ArtifactStore, context: MapContext
    ) -> None:
        unit = Unit(f"{__name__}:square", 5, "code")
        store.write(f"units/key/{unit.digest}.json", b'{"result":"from another worker"}')

        assert execute_unit(unit, context) == "from another worker"

    def test_it_leaves_no_scratch_folder(self, store: Any, context: MapContext) -> None:
        execute_unit(Unit(f"{__name__}:store_bytes", 1, "code"), context)

        assert list(store.drafts_folder().iterdir()) == []

    def test_a_function_that_is_not_there_is_a_typed_error(self, context: MapContext) -> None:
        with pytest.raises(ZenMLError, match="has no 'cube'"):
            execute_unit(Unit(f"{__name__}:cube", 1, "code"), context)
