"""The documents that this project began with, section by section, as code that runs.

Those documents are fragments: where a snippet lacked its imports or its arguments, they are filled
in here, and nothing else is changed. A snippet for a service whose plugin is not installed has to
say what to install; as soon as the plugin is there, the same snippet has to give a plan.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from zenml.core import Plan
from zenml.core.errors import ConfigurationError
from zenml.core.testing import fake_distribution, importing_from
from zenml.datasources import CSVDatasource
from zenml.pipelines import Pipeline, TrainingPipeline
from zenml.repo import Repository
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer

GCP_PROJECT = "an-example"
GCP_BUCKET = "gs://an-example"


def plans_or_says_what_to_install(
    snippet: Callable[[Pipeline], Plan], pipeline: Pipeline, *, uses: str, of: str
) -> None:
    """Run a snippet that plans a pipeline for a service, and see what becomes of it.

    Args:
        snippet: Given a pipeline, plans it, or another one on the same data.
        pipeline: A complete one.
        uses: The kind and type of the backend: ``orchestrator kubernetes``.
        of: The distribution that offers it.
    """
    kind, backend_type = uses.split()
    rows = Repository.get_instance().get_backends(kind)
    if not any(row.type == backend_type for row in rows):
        with pytest.raises(ImportError, match=f"is not installed\n  what to do: pip install {of}$"):
            snippet(pipeline)
        return

    plan = snippet(pipeline)

    used = {("orchestrator", plan.orchestrator.type)}
    used |= {(step.kind, step.backend.type) for step in plan.steps.values()}
    assert (kind, backend_type) in used


# == What is a backend? =========================================================================


def test_how_and_where_come_in_three_categories(repo):
    kinds = {row.kind for row in repo.get_backends()}

    assert kinds == {"orchestrator", "processing", "training"}


def test_the_logic_is_separate_so_that_pipelines_stay_comparable(pipeline):
    from zenml.local import OrchestratorLocalBackend, ProcessingLocalBackend

    elsewhere = pipeline.copy("elsewhere")
    pipeline.enable_cache = elsewhere.enable_cache = False

    one = pipeline.run()
    other = elsewhere.run(
        backends=[
            OrchestratorLocalBackend(max_parallel_steps=1),
            ProcessingLocalBackend(workers=2, mode="processes"),
        ]
    )

    assert {name: step.outputs for name, step in one.steps.items()} == {
        name: step.outputs for name, step in other.steps.items()
    }


def test_the_standard_ones_are_in_zenml_core_backends():
    from zenml.core.backends import (
        OrchestratorLocalBackend,
        ProcessingLocalBackend,
        TrainingLocalBackend,
    )

    kinds = [OrchestratorLocalBackend.kind, ProcessingLocalBackend.kind, TrainingLocalBackend.kind]
    assert kinds == ["orchestrator", "processing", "training"]


# == How to use a backend? ======================================================================


def test_a_data_scientist_simply_queries_the_backends_available(repo):
    backends = repo.get_backends()  # fetches all connected backends

    local = [row for row in backends if row.name == "local"]
    assert [row.kind for row in local] == ["orchestrator", "processing", "training"]
    assert all(row.usable and row.summary for row in local)


def test_backends_are_connected_to_a_repository(repo, pipeline):
    from zenml.backends.processing import ProcessingLocalBackend

    repo.connect_backend("wide", ProcessingLocalBackend(workers=16))

    [row] = [row for row in repo.get_backends() if row.status == "connected"]
    assert (row.kind, row.name, row.type) == ("processing", "wide", "local")
    assert repo.get_backend("wide") == ProcessingLocalBackend(workers=16)
    assert pipeline.run(backends={"processing": "wide"}).status == "succeeded"


# -- "in different ways using the backends argument" --


def test_when_constructing_a_pipeline(datasource):
    from zenml.backends.processing import ProcessingLocalBackend

    pipeline = TrainingPipeline(
        name="experiment", backends={"processing": ProcessingLocalBackend(workers=2)}
    )
    pipeline.add_datasource(datasource)
    pipeline.add_split(RandomSplit(split_map={"train": 0.7, "eval": 0.3}))
    pipeline.add_preprocesser(StandardPreprocesser(features=["age"], labels=["bought"]))
    pipeline.add_trainer(SKLearnTrainer())

    run = pipeline.run()

    assert run.plan.steps["split"].backend.args["workers"] == 2


def test_when_executing_a_pipeline_run(pipeline):
    from zenml.backends.processing import ProcessingLocalBackend

    run = pipeline.run(backends={"processing": ProcessingLocalBackend(workers=3)})

    assert run.status == "succeeded"
    assert run.plan.steps["preprocesser"].backend.args["workers"] == 3


def test_when_executing_a_pipeline_build(pipeline):
    from zenml.backends.processing import ProcessingLocalBackend

    plan = pipeline.build(backends=[ProcessingLocalBackend(workers=4)])

    assert plan.steps["data"].backend.args["workers"] == 4


# == Orchestrator backends ======================================================================


def test_by_default_orchestration_and_steps_are_local(pipeline):
    plan = pipeline.build()

    assert plan.orchestrator.type == "local"
    assert {step.backend.type for step in plan.steps.values()} == {"local"}


def test_a_backend_is_added_to_a_pipeline_by_the_same_pattern(pipeline):
    from zenml.backends.orchestrator import OrchestratorBaseBackend

    backend = OrchestratorBaseBackend()  # define the backend you want to use
    run = pipeline.run(backend=backend)

    assert run.status == "succeeded"
    assert run.started.orchestrator == "local"


def run_on_kubernetes(pipeline):
    from zenml.backends.orchestrator import OrchestratorKubernetesBackend

    # Define the orchestrator backend
    orchestrator_backend = OrchestratorKubernetesBackend(
        kubernetes_config_path=os.path.join(".kube", "config"), image_pull_policy="IfNotPresent"
    )
    # Run the pipeline on a Kubernetes Cluster
    return pipeline.build(backend=orchestrator_backend)


def run_on_a_large_instance(pipeline):
    from zenml.backends.orchestrator import OrchestratorGCPBackend

    orchestrator_backend = OrchestratorGCPBackend(
        project=GCP_PROJECT, zone="europe-west1-b", machine_type="e2-highmem-16", preemptible=True
    )
    return pipeline.build(backend=orchestrator_backend)


# == Processing backends ========================================================================


def test_every_step_takes_a_processing_backend(datasource):
    from zenml.backends.processing import ProcessingBaseBackend

    backend = ProcessingBaseBackend(workers=2)  # define the backend you want to use
    pipeline = TrainingPipeline(name="experiment")
    pipeline.add_datasource(datasource.with_backend(backend))
    # Add a split
    pipeline.add_split(RandomSplit(split_map={"train": 0.7, "eval": 0.3}).with_backend(backend))
    # Add a preprocessing unit
    pipeline.add_preprocesser(
        StandardPreprocesser(features=["age", "city"], labels=["bought"]).with_backend(backend)
    )
    pipeline.add_trainer(SKLearnTrainer())

    run = pipeline.run()

    carried = {name for name, s in run.plan.steps.items() if s.backend.args.get("workers") == 2}
    assert carried == {"data", "split", "preprocesser"}
    assert run.status == "succeeded"


def process_on_dataflow(pipeline):
    from zenml.backends.processing import ProcessingDataFlowBackend

    # Define the processing backend
    processing_backend = ProcessingDataFlowBackend(
        project=GCP_PROJECT,
        staging_location=os.path.join(GCP_BUCKET, "dataflow_processing/staging"),
    )
    # Reference the processing backend in steps
    training_pipeline = TrainingPipeline(name="experiment", datasource=pipeline.datasource)
    # Add a split
    training_pipeline.add_split(
        RandomSplit(split_map={"train": 0.7, "eval": 0.3}).with_backend(processing_backend)
    )
    # Add a preprocessing unit
    training_pipeline.add_preprocesser(
        StandardPreprocesser(features=["age", "city"], labels=["bought"]).with_backend(
            processing_backend
        )
    )
    training_pipeline.add_trainer(SKLearnTrainer())
    return training_pipeline.build()


# == Training backends ==========================================================================


def test_a_trainer_is_defined_along_with_a_training_backend(datasource):
    from zenml.backends.training import TrainingBaseBackend

    training_backend = TrainingBaseBackend()
    pipeline = TrainingPipeline(name="experiment", datasource=datasource)
    pipeline.add_split(RandomSplit(split_map={"train": 0.7, "eval": 0.3}))
    pipeline.add_preprocesser(StandardPreprocesser(features=["age", "city"], labels=["bought"]))
    pipeline.add_trainer(SKLearnTrainer().with_backend(training_backend))

    run = pipeline.run()

    assert run.load("trainer.model").predict([{"age": 30, "city": "Lima"}])[0] in ("yes", "no")


def test_training_backends_are_meant_for_training_only():
    from zenml.backends.training import TrainingBaseBackend

    with pytest.raises(ConfigurationError, match="expected a processing backend"):
        RandomSplit(split_map={"train": 0.7, "eval": 0.3}).with_backend(TrainingBaseBackend())


def train_on_a_gpu(pipeline):
    from zenml.backends.training import SingleGPUTrainingGCAIPBackend

    # Add a trainer with a GCAIP backend
    training_backend = SingleGPUTrainingGCAIPBackend(
        project=GCP_PROJECT, job_dir=os.path.join(GCP_BUCKET, "gcp_gcaip_training/staging")
    )
    training_pipeline = TrainingPipeline(name="experiment", datasource=pipeline.datasource)
    training_pipeline.add_split(RandomSplit(split_map={"train": 0.7, "eval": 0.3}))
    training_pipeline.add_preprocesser(
        StandardPreprocesser(features=["age", "city"], labels=["bought"])
    )
    training_pipeline.add_trainer(SKLearnTrainer().with_backend(training_backend))
    return training_pipeline.build()


@pytest.mark.parametrize(
    ("snippet", "uses", "of"),
    [
        (run_on_kubernetes, "orchestrator kubernetes", "zenml-k8s"),
        (run_on_a_large_instance, "orchestrator gcp", "zenml-gcp"),
        (process_on_dataflow, "processing dataflow", "zenml-dataflow"),
        (train_on_a_gpu, "training gcaip", "zenml-gcaip"),
    ],
)
def test_what_runs_on_a_service_is_planned_or_says_what_to_install(pipeline, snippet, uses, of):
    plans_or_says_what_to_install(snippet, pipeline, uses=uses, of=of)


# == Create your own backend ====================================================================

#: What the user writes, in a package of their own.
ACME = {
    "acme_zenml": '"""Backends of Acme."""',
    "acme_zenml.processing": '''
        """Processing at Acme."""

        from __future__ import annotations

        from collections.abc import Iterator, Sequence
        from typing import Any

        from zenml.core import MapContext, ProcessingBackend, Unit, execute_unit


        class ProcessingBackwardsBackend(ProcessingBackend):
            """Executes units one by one, the last one first.

            Args:
                greeting: What is said before.
            """

            greeting: str = "hello"

            def map(self, units: Sequence[Unit], context: MapContext) -> Iterator[tuple[int, Any]]:
                print(self.greeting, context.step)
                for index in reversed(range(len(units))):
                    yield index, execute_unit(units[index], context)
        ''',
    "acme_zenml.plugin": '''
        """What Acme offers to ZenML. Light: the backend is imported when it is used."""

        from zenml.core.plugins import BackendSpec, hookimpl


        @hookimpl
        def zenml_processors():
            yield BackendSpec(
                type="backwards",
                target="acme_zenml.processing:ProcessingBackwardsBackend",
                summary="Executes units one by one, the last one first.",
                api=1,
            )
        ''',
}


@pytest.fixture
def acme(tmp_path_factory):
    """The user's package, installed: its pyproject.toml names the entry point."""
    folder = tmp_path_factory.mktemp("site")
    with importing_from(folder):
        entry_points = {"acme": "acme_zenml.plugin"}
        fake_distribution(folder, "acme-zenml", entry_points=entry_points, modules=ACME)
        yield


@pytest.mark.usefixtures("acme")
def test_your_own_backend_is_listed_with_the_others(repo):
    [row] = [row for row in repo.get_backends("processing") if row.type == "backwards"]

    assert (row.distribution, row.version, row.status) == ("acme-zenml", "1.0", "available")


@pytest.mark.usefixtures("acme")
def test_your_own_backend_is_used_as_the_others_are(repo, datasource, pipeline, capsys):
    from zenml.backends.processing import ProcessingBackwardsBackend

    repo.connect_backend("backwards", ProcessingBackwardsBackend())
    own = TrainingPipeline(name="own", enable_cache=False, backends={"processing": "backwards"})
    own.add_datasource(CSVDatasource(name="small", path="customers.csv", rows_per_shard=50))
    split = RandomSplit(split_map={"train": 0.7, "eval": 0.3})
    own.add_split(split.with_backend(ProcessingBackwardsBackend(greeting="backwards in")))
    own.add_preprocesser(StandardPreprocesser(features=["age", "city"], labels=["bought"]))
    own.add_trainer(SKLearnTrainer())
    same = own.copy("same")

    run = own.run()

    assert "backwards in split" in capsys.readouterr().out
    assert run.plan.steps["split"].backend.args == {"greeting": "backwards in"}
    assert run.plan.steps["data"].backend.args == {"greeting": "hello"}
    # The same bytes as with the backends that come with ZenML.
    same.steps["split"].with_backend("local")
    local = same.run(backends={"processing": "local"})
    assert {n: s.outputs for n, s in run.steps.items()} == {
        n: s.outputs for n, s in local.steps.items()
    }


@pytest.mark.usefixtures("acme")
def test_your_own_backend_has_parameters_that_are_checked():
    from zenml.backends.processing import ProcessingBackwardsBackend

    with pytest.raises(ConfigurationError, match=r"greting: .*'greeting'"):
        ProcessingBackwardsBackend(greting="hi")
