"""What an author writes: steps, backends, pipelines, datasources."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from zenml.core import Backend, Datasource, Step, StepContext, step
from zenml.core.errors import (
    ConfigurationError,
    DataError,
    PipelineImmutableError,
    PlanError,
    RunError,
    StepFailedError,
)
from zenml.pipelines import Pipeline, TrainingPipeline


@step
def numbers(count: int = 3) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def take_out(config: dict[str, Any]) -> list[str]:
    """A step that spoils its own parameter."""
    config["nested"].pop()
    return sorted(config)


@step(outputs=["small", "large"])
def parted(values: list[int], limit: int) -> dict[str, list[int]]:
    return {
        "small": [value for value in values if value < limit],
        "large": [value for value in values if value >= limit],
    }


@step(kind="training")
def fitted(values: list[int]) -> int:
    return max(values)


@step
def path_of(path: Path) -> str:
    return type(path).__name__


@step
def order_of(table: dict[str, int]) -> list[str]:
    return list(table)


@step
def failing() -> None:
    raise ValueError("as it should")


class Scaled(Step):
    factor: float = 1.0
    columns: list[str] = []  # noqa: RUF012 - a parameter, copied for every step

    def run(self, total: int) -> float:
        return total * self.factor


class Rows(Datasource):
    """Rows that a test can change."""

    content: ClassVar[list[int]] = [1, 2, 3]
    outputs = ("values",)

    def fingerprint(self) -> Any:
        return list(self.content)

    def run(self) -> list[int]:
        return list(self.content)


@pytest.fixture
def pipeline(backends: list[Backend]) -> Pipeline:
    return Pipeline("tested", backends=backends)


class TestWithBackend:
    @pytest.mark.parametrize("kind", ["orchestrator", "training"])
    def test_a_backend_of_another_kind_is_refused(self, kinds: Any, kind: str) -> None:
        # Regression: with_backend() took anything.
        with pytest.raises(ConfigurationError) as caught:
            numbers().with_backend(kinds[kind]())

        assert caught.value.problems[0].path == "backend"
        assert "expected a processing backend" in str(caught.value)
        assert f"of kind {kind}" in str(caught.value)

    @pytest.mark.parametrize("found", [None, 3, {"type": "local"}])
    def test_what_is_no_backend_is_refused(self, found: Any) -> None:
        with pytest.raises(ConfigurationError, match="expected a processing backend, found"):
            numbers().with_backend(found)

    def test_a_class_is_refused(self, kinds: Any) -> None:
        with pytest.raises(ConfigurationError, match="expected a processing backend"):
            numbers().with_backend(kinds["processing"])

    def test_it_works_as_a_statement_and_as_an_expression(self, kinds: Any) -> None:
        made = numbers()
        backend = kinds["processing"]()

        assert made.with_backend(backend) is made
        assert made.backend is backend

    def test_every_step_keeps_its_own(self, pipeline: Pipeline, kinds: Any) -> None:
        # Regression: only the first processing backend was used, for all steps.
        inorder = kinds["processing"]
        pipeline.add_step(numbers().with_backend(inorder(region="a")))
        pipeline.add_step(total().with_backend(inorder(region="b")), inputs={"values": "numbers"})
        pipeline.add_step(Scaled(), inputs={"total": "total"})

        plan = pipeline.build()

        regions = [planned.backend.args["region"] for planned in plan.steps.values()]
        assert regions == ["a", "b", "here"]

    def test_a_trainer_takes_a_training_backend(self, pipeline: Pipeline, kinds: Any) -> None:
        pipeline.add_step(numbers(), "values")
        pipeline.add_step(fitted().with_backend(kinds["training"]()), inputs={"values": "values"})

        assert pipeline.run().load("fitted") == 2


class TestParameters:
    def test_unknown_and_mistyped_ones_are_named_all_at_once(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Scaled(facter=2.0, columns="a")  # type: ignore[call-arg, arg-type]

        assert [problem.path for problem in caught.value.problems] == ["facter", "columns"]
        assert "did you mean 'factor'?" in str(caught.value)

    def test_of_a_function_too(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            numbers(cuont=3)

        assert "did you mean 'count'?" in str(caught.value)
        with pytest.raises(ConfigurationError, match="expected int, got str"):
            numbers(count="3")

    def test_a_list_is_not_shared_with_its_giver(self) -> None:
        # Regression: the constructor kept the user's own dictionary, and changed it.
        columns = ["a"]
        made = Scaled(columns=columns)
        columns.append("b")

        assert made.parameters()["columns"] == ["a"]

    def test_a_dictionary_of_a_function_is_not_shared_either(self) -> None:
        config: dict[str, Any] = {"nested": [1, 2]}
        made = take_out(config=config)
        config["nested"].clear()

        assert made.parameters() == {"config": {"nested": [1, 2]}}

    def test_a_default_is_not_shared_between_steps(self) -> None:
        Scaled().columns.append("a")

        assert Scaled().columns == []

    def test_a_step_that_changes_its_parameter_changes_nothing_else(
        self, pipeline: Pipeline
    ) -> None:
        config = {"nested": [1, 2]}
        pipeline.add_step(take_out(config=config))
        first = pipeline.run()
        second = pipeline.run()

        assert config == {"nested": [1, 2]}
        assert first.plan.digest == second.plan.digest
        assert second.steps["take_out"].status == "cached"

    def test_a_dictionary_has_the_order_of_its_keys_whatever_order_it_was_given_in(
        self, pipeline: Pipeline
    ) -> None:
        # The order is no part of the cache key, so a step must not see it either.
        pipeline.add_step(order_of(table={"b": 1, "a": 2}))

        assert pipeline.run().load("order_of") == ["a", "b"]

    def test_text_that_looks_like_a_class_stays_text(self, pipeline: Pipeline) -> None:
        # Regression: every text parameter was imported as a class when a pipeline was loaded.
        pipeline.add_step(take_out(config={"nested": ["os.path.join", "json.JSONDecoder"]}))

        planned = pipeline.build().steps["take_out"]

        assert planned.parameters == {"config": {"nested": ["os.path.join", "json.JSONDecoder"]}}

    def test_a_path_is_planned_as_text_and_given_as_a_path(self, pipeline: Pipeline) -> None:
        pipeline.add_step(path_of(path=Path("data.csv")))

        run = pipeline.run()

        assert run.plan.steps["path_of"].parameters == {"path": "data.csv"}
        assert "Path" in run.load("path_of")

    def test_what_is_not_plain_is_refused_where_it_is_given(self) -> None:
        with pytest.raises(ConfigurationError, match="not plain data"):
            take_out(config={"lock": threading.Lock()})

    def test_outputs_given_as_one_text_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="expected several names, found 'model'"):
            step(outputs="model")(len)


class TestAddStep:
    def test_names_are_the_functions_numbered_if_need_be(self, pipeline: Pipeline) -> None:
        assert [pipeline.add_step(numbers()) for _ in range(3)] == [
            "numbers",
            "numbers_2",
            "numbers_3",
        ]

    def test_a_number_that_is_taken_is_left_out(self, pipeline: Pipeline) -> None:
        pipeline.add_step(numbers(), "numbers_2")

        assert [pipeline.add_step(numbers()) for _ in range(2)] == ["numbers", "numbers_3"]

    def test_an_uncalled_step_function_is_refused_and_told_what_to_do(
        self, pipeline: Pipeline
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            pipeline.add_step(numbers)  # type: ignore[arg-type]

        assert "call it first: numbers(…)" in str(caught.value)

    @pytest.mark.parametrize("name", ["", "a b", "1st", "a/b", "ä", "x" * 101, "a.b", 3])
    def test_a_name_that_cannot_be_one_is_refused(self, pipeline: Pipeline, name: Any) -> None:
        with pytest.raises(ConfigurationError, match="cannot name a step"):
            pipeline.add_step(numbers(), name)

    def test_inputs_that_are_no_mapping_are_refused(self, pipeline: Pipeline) -> None:
        with pytest.raises(ConfigurationError, match="expected a mapping, found numbers"):
            pipeline.add_step(total(), inputs="numbers")  # type: ignore[arg-type]

    def test_outputs_are_joined_by_name_by_reference_and_as_lists(self, pipeline: Pipeline) -> None:
        start = pipeline.add_step(numbers(count=6))
        part = pipeline.add_step(parted(limit=2), inputs={"values": start})
        pipeline.add_step(total(), "small", {"values": part["small"]})
        pipeline.add_step(total(), "large", {"values": "parted.large"})
        pipeline.add_step(total(), "both", {"values": ["small", "large"]})

        run = pipeline.run()

        assert [run.load(name) for name in ("small", "large", "both")] == [1, 14, 15]

    def test_a_change_to_the_step_afterwards_is_not_the_pipelines(self, pipeline: Pipeline) -> None:
        made = Scaled(columns=["a"])
        pipeline.add_step(made, inputs={"total": "x"})
        made.columns.append("b")

        assert pipeline.steps["Scaled"].parameters()["columns"] == ["a"]


class TestBackends:
    def test_the_later_wins(self, backends: list[Backend], kinds: Any) -> None:
        inorder = kinds["processing"]
        pipeline = Pipeline("p", backends=[*backends[::2], inorder(region="constructor")])
        pipeline.add_step(numbers())

        def region(**options: Any) -> Any:
            return pipeline.build(**options).steps["numbers"].backend.args["region"]

        assert region() == "constructor"
        assert region(backends={"processing": inorder(region="build")}) == "build"
        assert region(backends=[inorder(region="build")]) == "build"
        pipeline.run(backends=[inorder(region="run")])
        assert region() == "constructor"

    def test_a_steps_own_wins_over_all(self, pipeline: Pipeline, kinds: Any) -> None:
        inorder = kinds["processing"]
        pipeline.add_step(numbers().with_backend(inorder(region="own")))

        plan = pipeline.build(backends=[inorder(region="build")])

        assert plan.steps["numbers"].backend.args["region"] == "own"

    def test_an_orchestrator_is_given_as_backend(self, backends: list[Backend], kinds: Any) -> None:
        pipeline = Pipeline("p", backend=kinds["orchestrator"](steps=1), backends=backends[1:])
        pipeline.add_step(numbers())

        assert pipeline.build().orchestrator.args == {"steps": 1}
        assert pipeline.build(backend=kinds["orchestrator"]()).orchestrator.args == {"steps": None}

    @pytest.mark.parametrize("where", ["constructor", "build", "run"])
    def test_one_of_another_kind_is_refused_everywhere(
        self, backends: list[Backend], kinds: Any, where: str
    ) -> None:
        pipeline = Pipeline("p", backends=backends)
        pipeline.add_step(numbers())
        ways = {
            "constructor": functools.partial(Pipeline, "p"),
            "build": pipeline.build,
            "run": pipeline.run,
        }

        with pytest.raises(ConfigurationError, match="expected orchestrator, found InOrder"):
            ways[where](backend=kinds["processing"]())

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("local", "put it in a list"),
            ({"procesing": "x"}, "did you mean 'processing'?"),
            ({"processing": None}, "expected a backend, found None"),
            ([3], "expected a backend, found 3"),
        ],
    )
    def test_what_cannot_be_backends_is_refused(self, given: Any, said: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Pipeline("p", backends=given)

        assert said in str(caught.value)

    def test_a_single_backend_and_a_class_are_refused(self, kinds: Any) -> None:
        with pytest.raises(ConfigurationError, match="put it in a list"):
            Pipeline("p", backends=kinds["processing"]())
        with pytest.raises(ConfigurationError, match=r"call it: InOrder\(…\)"):
            Pipeline("p", backends=[kinds["processing"]])

    def test_two_of_one_kind_are_refused(self, kinds: Any) -> None:
        inorder = kinds["processing"]
        with pytest.raises(ConfigurationError, match="given twice"):
            Pipeline("p", backends=[inorder(), inorder(region="b")])


class TestImmutability:
    @pytest.fixture
    def done(self, pipeline: Pipeline) -> Pipeline:
        pipeline.add_step(numbers())
        pipeline.run()
        return pipeline

    @pytest.mark.parametrize(
        "change",
        [
            lambda p: p.add_step(numbers()),
            lambda p: p.add_datasource(Rows(name="rows")),
            lambda p: setattr(p, "name", "other"),
            lambda p: setattr(p, "enable_cache", False),
            lambda p: setattr(p, "artifact_store", "elsewhere"),
        ],
        ids=["add_step", "add_datasource", "name", "enable_cache", "artifact_store"],
    )
    def test_after_a_run_nothing_can_be_changed(self, done: Pipeline, change: Any) -> None:
        with pytest.raises(PipelineImmutableError) as caught:
            change(done)

        assert "pipeline.copy(" in str(caught.value.remedy)

    def test_steps_that_it_shows_are_copies(self, done: Pipeline, kinds: Any) -> None:
        done.steps["numbers"].with_backend(kinds["processing"](region="b"))

        assert done.steps["numbers"].backend is None

    def test_it_can_run_again(self, done: Pipeline) -> None:
        assert done.run().steps["numbers"].status == "cached"

    def test_after_a_failed_run_too(self, pipeline: Pipeline) -> None:
        pipeline.add_step(failing())
        with pytest.raises(StepFailedError):
            pipeline.run()

        with pytest.raises(PipelineImmutableError):
            pipeline.add_step(numbers())

    def test_what_could_not_be_planned_can_be_mended(self, pipeline: Pipeline) -> None:
        pipeline.add_step(total())
        with pytest.raises(PlanError):
            pipeline.run()

        pipeline.add_step(numbers())

    def test_a_copy_can_be_changed_and_shares_nothing(self, done: Pipeline) -> None:
        # Regression: copy() shared the dictionary of steps with its original.
        made = done.copy("second")
        made.add_step(total(), inputs={"values": "numbers"})

        assert (made.name, done.name) == ("second", "tested")
        assert list(done.steps) == ["numbers"]
        assert made.run().load("total") == 3

    def test_a_copy_shares_no_parameter(self, pipeline: Pipeline) -> None:
        pipeline.add_step(Scaled(columns=["a"]), inputs={"total": "x"})
        made = pipeline.copy("second")
        made.steps["Scaled"].columns.append("b")  # type: ignore[attr-defined]

        assert pipeline.steps["Scaled"].parameters()["columns"] == ["a"]

    def test_a_copy_of_a_copy_runs_from_the_cache(self, done: Pipeline) -> None:
        run = done.copy("second").copy("third").run()

        assert run.steps["numbers"].status == "cached"

    def test_a_pipeline_with_open_stores_can_be_copied(
        self, project: Path, backends: list[Backend]
    ) -> None:
        from zenml.metadata import SQLiteMetadataStore

        index = SQLiteMetadataStore(project / "index.db")
        pipeline = Pipeline("p", backends=backends, metadata_store=index)
        pipeline.add_step(numbers())
        pipeline.run()

        assert pipeline.copy("q").metadata_store is index


class TestFailures:
    def test_a_failed_run_is_recorded_as_failed(self, pipeline: Pipeline) -> None:
        # Regression: failed and running pipelines both said that they were running.
        pipeline.add_step(numbers())
        pipeline.add_step(failing())
        with pytest.raises(StepFailedError) as caught:
            pipeline.run()
        from zenml.core.engine._run import Run
        from zenml.repo import Repository

        run = Run(caught.value.run_id, Repository.get_instance().artifact_store)

        assert run.status == "failed"
        assert run.steps["failing"].status == "failed"
        assert run.steps["numbers"].status == "succeeded"

    def test_the_error_shows_the_users_frames_and_none_of_ours(self, pipeline: Pipeline) -> None:
        pipeline.add_step(failing())
        with pytest.raises(StepFailedError) as caught:
            pipeline.run()
        frames = []
        trace = caught.value.__cause__.__traceback__ if caught.value.__cause__ else None
        while trace is not None:
            frames.append(trace.tb_frame.f_code.co_filename)
            trace = trace.tb_next

        assert isinstance(caught.value.__cause__, ValueError)
        assert frames == [__file__]

    def test_a_run_has_no_step_that_its_plan_has_not(self, pipeline: Pipeline) -> None:
        pipeline.add_step(numbers())

        with pytest.raises(RunError, match="has no step 'numbres'") as caught:
            pipeline.run().load("numbres")

        assert caught.value.remedy == "did you mean 'numbers'?"


class TestDatasource:
    @pytest.fixture
    def rows(self, monkeypatch: pytest.MonkeyPatch) -> Rows:
        monkeypatch.setattr(Rows, "content", [1, 2, 3])
        return Rows(name="rows")

    @staticmethod
    def _sum(backends: Sequence[Backend], rows: Rows, commit: str | None = None) -> Any:
        pipeline = Pipeline("sum", backends=backends, datasource=rows, datasource_commit_id=commit)
        pipeline.add_step(total())
        return pipeline.run()

    @staticmethod
    def _commit(backends: Sequence[Backend], rows: Rows) -> str:
        """What commit() does, with backends that no plugin has to bring."""
        from zenml.pipelines._data import DataPipeline
        from zenml.pipelines._datasource import _record

        return _record(rows.name, DataPipeline(rows, backends=backends).run())

    def test_without_a_commit_a_run_takes_a_snapshot(
        self, backends: list[Backend], rows: Rows
    ) -> None:
        assert self._sum(backends, rows).load("total") == 6
        assert self._sum(backends, rows).steps["data"].status == "cached"

    def test_a_changed_source_is_read_again(self, backends: list[Backend], rows: Rows) -> None:
        self._sum(backends, rows)
        Rows.content.append(4)

        assert self._sum(backends, rows).load("total") == 10

    def test_a_commit_is_read_whatever_became_of_the_source(
        self, backends: list[Backend], rows: Rows
    ) -> None:
        # Regression: the commit id was ignored.
        commit = self._commit(backends, rows)
        Rows.content.append(4)
        second = self._commit(backends, rows)

        assert rows.commits == [commit, second]
        assert self._sum(backends, rows, commit).load("total") == 6
        assert self._sum(backends, rows, second[:10]).load("total") == 10
        assert list(self._sum(backends, rows, commit).steps) == ["total"]

    def test_committing_what_did_not_change_gives_the_same_id(
        self, backends: list[Backend], rows: Rows
    ) -> None:
        assert self._commit(backends, rows) == self._commit(backends, rows)
        assert len(rows.commits) == 1

    def test_a_commit_that_does_not_exist_is_refused(
        self, backends: list[Backend], rows: Rows
    ) -> None:
        commit = self._commit(backends, rows)

        with pytest.raises(DataError, match="there is no such commit") as caught:
            self._sum(backends, rows, "0" * 64)

        assert commit[:12] in str(caught.value.remedy)

    def test_what_is_no_datasource_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="no datasource"):
            Pipeline("p").add_datasource("data.csv")  # type: ignore[arg-type]


class TestTrainingPipeline:
    def test_everything_that_is_missing_is_named_at_once(self, backends: list[Backend]) -> None:
        with pytest.raises(PlanError) as caught:
            TrainingPipeline("p", backends=backends).build()

        assert [problem.path for problem in caught.value.problems][:4] == [
            "datasource",
            "steps.split",
            "steps.preprocesser",
            "steps.trainer",
        ]
        assert "call add_split(…)" in str(caught.value)

    def test_so_is_what_is_wrong_besides(self, backends: list[Backend]) -> None:
        pipeline = TrainingPipeline("p", backends=backends)
        pipeline.add_split(numbers().with_backend("nowhere"))

        with pytest.raises(PlanError) as caught:
            pipeline.build()

        paths = [problem.path for problem in caught.value.problems]
        assert "steps.trainer" in paths
        assert "steps.split.backend" in paths

    def test_slots_run_in_their_order_whatever_order_they_were_filled_in(
        self, backends: list[Backend]
    ) -> None:
        pipeline = TrainingPipeline("p", backends=backends, datasource=Rows(name="rows"))
        pipeline.add_trainer(joined(kind="trainer"))
        pipeline.add_preprocesser(joined(kind="preprocesser"))
        pipeline.add_split(joined(kind="split"))

        assert list(pipeline.build().steps) == ["data", "split", "preprocesser", "trainer"]
        assert pipeline.run().load("trainer") == ["split", "preprocesser", "trainer"]

    def test_a_slot_is_filled_once(self) -> None:
        pipeline = TrainingPipeline("p").add_split(numbers())

        with pytest.raises(PipelineImmutableError, match="has a split already"):
            pipeline.add_split(numbers())

    def test_a_slots_name_is_not_for_other_steps(self) -> None:
        with pytest.raises(ConfigurationError, match=r"use add_split\(\)"):
            TrainingPipeline("p").add_step(numbers(), "split")

    def test_a_copy_can_be_given_another_step_before(self, backends: list[Backend]) -> None:
        pipeline = TrainingPipeline("p", backends=backends, datasource=Rows(name="rows"))
        pipeline.add_split(joined(kind="split")).add_preprocesser(joined(kind="preprocesser"))
        made = pipeline.copy("q").add_trainer(joined(kind="trainer"))

        assert "trainer" not in pipeline.steps
        assert made.run().load("trainer") == ["split", "preprocesser", "trainer"]


@step(outputs=["values"])
def joined(values: list[Any], kind: str) -> list[Any]:
    """Notes in which order steps ran."""
    return [*(value for value in values if isinstance(value, str)), kind]


def test_a_context_tells_a_step_where_it_is(pipeline: Pipeline) -> None:
    pipeline.add_step(where(), "here")

    run = pipeline.run()

    assert run.load("here") == ["here", run.id]


@step
def where(context: StepContext) -> list[str]:
    return [context.step, context.run_id]
