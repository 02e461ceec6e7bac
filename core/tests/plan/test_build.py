"""From what an author wrote to a plan: every problem at once, each with its path and a remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Backend, Plan, Step, step
from zenml.core.errors import PlanError
from zenml.pipelines import Pipeline


@step
def numbers(count: int = 3, weight: float = 1.0, extra: Any = None) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def either(a: Any, b: Any = None) -> Any:
    return a or b


@step(kind="trainer")  # type: ignore[call-overload]
def of_no_kind() -> int:
    return 1


@step(outputs=())
def without_outputs() -> None: ...


@step(outputs=("a b", "c", "c"))
def with_odd_outputs() -> Any: ...


@step(outputs=("left", "right"))
def pair() -> Any:
    return 1, 2


class OneName(Step):
    outputs = "model"

    def run(self) -> int:
        return 1


class Anything(Step):
    value: Any = None

    def run(self) -> Any:
        return self.value


@pytest.fixture
def pipeline(backends: list[Backend]) -> Pipeline:
    return Pipeline("tested", backends=backends)


def problems(build: Callable[[], Any]) -> dict[str, str]:
    with pytest.raises(PlanError) as caught:
        build()
    return {problem.path: str(problem) for problem in caught.value.problems}


class TestProblems:
    def test_all_are_found_at_once(self, pipeline: Pipeline) -> None:
        class Local(Step):
            def run(self) -> int:
                return 1

        pipeline.add_step(numbers().with_backend("nowhere"))
        pipeline.add_step(total(), inputs={"valeus": "numbers"})
        pipeline.add_step(Local())
        pipeline.add_step(either(), inputs={"a": "numbrs"})
        pipeline.add_step(Anything(value=math.nan))

        found = problems(pipeline.build)

        assert set(found) == {
            "steps.numbers.backend",
            "steps.total.inputs.valeus",
            "steps.total.inputs.values",
            "steps.Local.source",
            "steps.either.inputs.a",
            "steps.Anything.parameters",
        }
        assert "did you mean 'values'?" in found["steps.total.inputs.valeus"]
        assert "did you mean 'numbers'?" in found["steps.either.inputs.a"]
        assert "inside a function" in found["steps.Local.source"]

    def test_a_step_of_several_outputs_where_one_is_meant(self, pipeline: Pipeline) -> None:
        pipeline.add_step(pair())
        pipeline.add_step(total(), inputs={"values": "pair"})

        found = problems(pipeline.build)["steps.total.inputs.values"]

        assert "pair.left, pair.right" in found

    def test_no_steps(self, pipeline: Pipeline) -> None:
        assert "add_step()" in problems(pipeline.build)["steps"]

    @pytest.mark.parametrize("name", ["", "  ", 3])
    def test_no_name(self, backends: list[Backend], name: Any) -> None:
        pipeline = Pipeline(name, backends=backends)
        pipeline.add_step(numbers())

        assert f"found {name!r}" in problems(pipeline.build)["name"]

    def test_two_steps_of_one_name(self, pipeline: Pipeline) -> None:
        pipeline.add_step(numbers(), "a")
        pipeline.add_step(numbers(), "a")

        assert "two of that name" in problems(pipeline.build)["steps.a"]

    def test_a_cycle_is_shown(self, pipeline: Pipeline) -> None:
        pipeline.add_step(either(), "a", {"a": "c"})
        pipeline.add_step(either(), "b", {"a": "a"})
        pipeline.add_step(either(), "c", {"a": "b"})

        assert "a -> c -> b -> a" in problems(pipeline.build)["steps"]

    def test_a_step_that_waits_for_itself(self, pipeline: Pipeline) -> None:
        pipeline.add_step(either(), "a", {"a": "a"})

        assert "a -> a" in problems(pipeline.build)["steps"]

    def test_a_long_chain_has_no_cycle(self, pipeline: Pipeline) -> None:
        last = pipeline.add_step(numbers())
        for _ in range(1500):
            last = pipeline.add_step(either(), inputs={"a": last})

        assert len(pipeline.build().steps) == 1501

    def test_an_output_that_a_step_has_not(self, pipeline: Pipeline) -> None:
        pipeline.add_step(numbers())
        pipeline.add_step(total(), inputs={"values": "numbers.outptu"})

        found = problems(pipeline.build)["steps.total.inputs.values"]

        assert "has no output 'outptu'" in found
        assert "did you mean 'output'?" in found

    @pytest.mark.parametrize("value", [3, None, {"a": "b"}, [1], numbers(), b"numbers"])
    def test_an_input_that_is_no_reference(self, pipeline: Pipeline, value: Any) -> None:
        pipeline.add_step(total(), inputs={"values": value})

        found = problems(pipeline.build)

        assert list(found) == ["steps.total.inputs.values"]
        assert "a fixed value is a parameter" in found["steps.total.inputs.values"]

    def test_an_unbound_input_names_what_there_is_in_one_line(self, pipeline: Pipeline) -> None:
        for _ in range(300):
            pipeline.add_step(numbers())
        pipeline.add_step(total())

        found = problems(pipeline.build)["steps.total.inputs.values"]

        assert "numbers_300.output" in found
        assert len(found) < 400

    def test_a_kind_of_step_that_does_not_exist(self, pipeline: Pipeline) -> None:
        pipeline.add_step(of_no_kind())

        assert any("trainer" in text for text in problems(pipeline.build).values())

    def test_no_outputs(self, pipeline: Pipeline) -> None:
        pipeline.add_step(without_outputs())

        assert "at least one" in problems(pipeline.build)["steps.without_outputs.outputs"]

    def test_outputs_that_cannot_be_referred_to(self, pipeline: Pipeline) -> None:
        pipeline.add_step(with_odd_outputs())
        with pytest.raises(PlanError) as caught:
            pipeline.build()

        assert "'a b' cannot name an output" in str(caught.value)
        assert "two named 'c'" in str(caught.value)

    def test_outputs_that_are_one_text(self, pipeline: Pipeline) -> None:
        pipeline.add_step(OneName())

        assert "('model',)" in problems(pipeline.build)["steps.OneName.outputs"]

    @pytest.mark.parametrize(
        "value", [math.inf, 2**70, {1: 2}, {"deep": [object()]}, object(), "\ud800"]
    )
    def test_a_parameter_that_is_not_plain(self, pipeline: Pipeline, value: Any) -> None:
        pipeline.add_step(Anything(value=value))

        assert list(problems(pipeline.build)) == ["steps.Anything.parameters"]

    @pytest.mark.parametrize("count", [1, 14, 15, 300])
    def test_the_message_fits_a_screen_and_says_how_many_there_are(
        self, pipeline: Pipeline, count: int
    ) -> None:
        for _ in range(count):
            pipeline.add_step(total(), inputs={"nothing": "x"})
        with pytest.raises(PlanError) as caught:
            pipeline.build()

        assert len(caught.value.problems) == 2 * count
        assert f": {2 * count} problem" in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 17

    def test_nothing_is_written(self, pipeline: Pipeline, project: Path) -> None:
        pipeline.add_step(total())
        problems(pipeline.run)

        assert list((project / ".zenml").iterdir()) == []


class TestPlan:
    def test_the_same_pipeline_gives_the_same_plan(self, pipeline: Pipeline) -> None:
        pipeline.add_step(numbers())

        assert pipeline.build() == pipeline.build()
        assert pipeline.build().digest == pipeline.copy("tested").build().digest

    def test_the_order_of_adding_does_not_change_what_is_planned(
        self, backends: list[Backend]
    ) -> None:
        digests = []
        for order in (1, -1):
            pipeline = Pipeline("p", backends=backends)
            parts = [("a", numbers(), {}), ("b", total(), {"values": "a"})]
            for name, made, inputs in parts[::order]:
                pipeline.add_step(made, name, inputs)
            plan = pipeline.build()
            digests.append(plan.digest)
            assert list(plan.steps) == ["a", "b"]

        assert digests[0] == digests[1]

    @pytest.mark.parametrize(
        "change",
        [
            {"count": 4},
            {"weight": 1.5},
            {"extra": "1"},
            {"extra": 1},
            {"extra": 1.0},
            {"extra": True},
            {"extra": [1]},
            {"extra": {"a": None}},
        ],
        ids=str,
    )
    def test_every_parameter_is_part_of_the_digest(
        self, backends: list[Backend], change: dict[str, Any]
    ) -> None:
        def digest(**parameters: Any) -> str:
            pipeline = Pipeline("p", backends=backends)
            pipeline.add_step(numbers(**parameters))
            return pipeline.build().digest

        others = [{}, *({"extra": value} for value in ("1", 1, 1.0, True, [1], {"a": None}))]

        assert digest(**change) not in {
            digest(**other) for other in others if repr(other) != repr(change)
        }

    def test_a_tuple_is_planned_as_the_list_that_it_reads_back_as(self, pipeline: Pipeline) -> None:
        pipeline.add_step(numbers(extra=(1, (2, 3))))

        plan = pipeline.build()

        assert plan.steps["numbers"].parameters["extra"] == [1, [2, 3]]
        assert Plan.from_yaml(plan.to_yaml()) == plan

    def test_it_is_frozen(self, pipeline: Pipeline) -> None:
        pipeline.add_step(numbers())
        plan = pipeline.build()

        with pytest.raises(AttributeError):
            plan.pipeline = "other"  # type: ignore[misc]
        with pytest.raises(AttributeError):
            plan.steps["numbers"].cache = False  # type: ignore[misc]

    def test_it_is_the_same_in_every_folder(
        self, backends: list[Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import importlib
        import sys

        digests = []
        for name in ("one", "another with a space and ü"):
            folder = tmp_path / name
            (folder / ".zenml").mkdir(parents=True)
            (folder / "mine.py").write_text(
                "from zenml.core import step\n@step\ndef work(): return 1\n"
            )
            monkeypatch.chdir(folder)
            monkeypatch.syspath_prepend(str(folder))
            sys.modules.pop("mine", None)
            pipeline = Pipeline("p", backends=backends)
            pipeline.add_step(importlib.import_module("mine").work())
            plan = pipeline.build()
            assert "." in plan.import_roots
            digests.append((plan.steps["work"].code, plan.import_roots[0]))
        sys.modules.pop("mine", None)

        assert digests[0] == digests[1]


class TestDiff:
    def test_equal_plans_do_not_differ(self, pipeline: Pipeline) -> None:
        pipeline.add_step(numbers())

        assert pipeline.build().diff(pipeline.build()) == []

    def test_what_changed_came_and_went_is_named_by_path(
        self, backends: list[Backend], kinds: Any
    ) -> None:
        def plan(**parameters: Any) -> Plan:
            pipeline = Pipeline("p", backends=backends)
            pipeline.add_step(numbers(**parameters))
            return pipeline.build(backends=[kinds["processing"](region=f"r{len(parameters)}")])

        found = [str(line) for line in plan(count=1).diff(plan(count=2, weight=2.0))]

        assert found == [
            "~ steps.numbers.backend.args.region: 'r1' -> 'r2'",
            "~ steps.numbers.parameters.count: 1 -> 2",
            "+ steps.numbers.parameters.weight: 2.0",
        ]

    def test_values_of_another_type_differ(self, backends: list[Backend]) -> None:
        def plan(value: Any) -> Plan:
            pipeline = Pipeline("p", backends=backends)
            pipeline.add_step(numbers(extra=value))
            return pipeline.build()

        assert [str(line) for line in plan(1).diff(plan(1.0))] == [
            "~ steps.numbers.parameters.extra: 1 -> 1.0"
        ]

    def test_a_parameter_that_becomes_null_is_shown(self, backends: list[Backend]) -> None:
        def plan(**parameters: Any) -> Plan:
            pipeline = Pipeline("p", backends=backends)
            pipeline.add_step(numbers(**parameters))
            return pipeline.build()

        assert [line.path for line in plan(count=1).diff(plan(count=1, extra=None))] == [
            "steps.numbers.parameters.extra"
        ]
