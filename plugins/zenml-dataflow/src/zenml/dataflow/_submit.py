"""Submitting a job: Beam's own runner stages the pipeline, and asks Dataflow to execute it."""

from __future__ import annotations

import gc
import logging
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from zenml.core import MapContext, PlacedOrder, Unit, safe_segment
from zenml.core.image import write_packages
from zenml.dataflow._options import GPUS, DataflowOptions

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

__all__ = ["distributions_of", "requirements_of", "staging_of", "submit"]

#: What the client has installed may name private places, and nobody needs to know.
_EXPERIMENTS: Final = ("disable_logging_submission_environment",)

#: Beam keeps some of what it knows for the whole process.
_submitting = threading.Lock()


def submit(options: DataflowOptions, name: str, placed: PlacedOrder, context: MapContext) -> str:
    """Submit the job that carries out an order; returns its id.

    Raises whatever Beam and Google's libraries do; if the answer is lost, there may be a job.
    """
    import apache_beam as beam
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
    from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner

    from zenml.beam import pipeline_for

    with tempfile.TemporaryDirectory(prefix="zenml-dataflow-") as folder, _submitting, _quietly():
        told = _pipeline_options(options, name, context, Path(folder))
        # The runner is given the pipeline below, since a pipeline with that runner looks for
        # credentials in its own way, for a warning, before they are told.
        pipeline = beam.Pipeline(runner=BundleBasedDirectRunner())
        order = placed.order
        pipeline_for(pipeline, context.store, order.key, order.digest, placed.count)
        result = DataflowRunner().run_pipeline(pipeline, told)
        job = str(result.job_id())
        # Beam closes none of its clients, and there are cycles around them.
        del pipeline, result
        gc.collect()
        return job


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Beam's warning for each wheel, that it has to suit workers, which ours do."""
    stager = logging.getLogger("apache_beam.runners.portability.stager")
    level = stager.level
    stager.setLevel(logging.ERROR)
    try:
        yield
    finally:
        stager.setLevel(level)


def requirements_of(context: MapContext) -> dict[str, str]:
    """The distributions that workers need, with their versions here."""
    versions = {name: found for name, found in context.requires.items() if " " not in found}
    ours = {name: metadata.version(name) for name in ("zenml-core", "zenml-dataflow")}
    return {**versions, **ours}


def distributions_of(units: Iterable[Unit]) -> dict[str, str]:
    """The installed distributions that the units' own code is in, with their versions.

    A step's closure names what its code imports from elsewhere, and not where it is itself.
    """
    paths = {unit.function.partition(":")[0].replace(".", "/") for unit in units}
    files = {f"{path}{end}" for path in paths for end in (".py", "/__init__.py")}
    return {
        found.name: found.version
        for found in metadata.distributions()
        if any(str(file) in files for file in found.files or ())
    }


def staging_of(options: DataflowOptions, store: str) -> str | None:
    """Where pipelines and packages are staged; None if nothing says so."""
    if options.staging_location is not None:
        return options.staging_location.rstrip("/")
    found = urlsplit(store)
    return f"gs://{found.netloc}/dataflow" if found.scheme == "gs" else None


def _pipeline_options(
    options: DataflowOptions, name: str, context: MapContext, folder: Path
) -> PipelineOptions:
    from apache_beam.options.pipeline_options import PipelineOptions

    staging = staging_of(options, context.store)
    told: dict[str, Any] = {
        "project": options.project,
        "region": options.region,
        "job_name": name,
        "staging_location": staging,
        "temp_location": (options.temp_location or staging or "").rstrip("/"),
        "labels": [f"{key}={value}" for key, value in _labels(options, context).items()],
        "machine_type": options.machine_type,
        "num_workers": options.num_workers,
        "max_num_workers": max(options.num_workers, options.max_num_workers),
        "autoscaling_algorithm": options.autoscaling_algorithm,
        "disk_size_gb": options.disk_size_gb,
        "number_of_worker_harness_threads": options.threads,
        "service_account_email": options.service_account,
        "network": options.network,
        "subnetwork": options.subnetwork,
        "use_public_ips": options.use_public_ips,
        "dataflow_kms_key": options.kms_key_name,
        "flexrs_goal": options.flexrs_goal,
        "impersonate_service_account": options.impersonate_service_account,
        "sdk_location": "container",
        # What is pickled is a name in zenml-beam; nothing of `__main__` is needed.
        "save_main_session": False,
        "experiments": [*_EXPERIMENTS],
    }
    if options.gpu_type is not None:
        accelerator = GPUS[options.gpu_type].accelerator
        told["dataflow_service_options"] = [
            f"worker_accelerator=type:{accelerator};count:{options.gpu_count};install-nvidia-driver"
        ]
    if options.api_endpoint is not None:
        told["dataflow_endpoint"] = options.api_endpoint
        told["no_auth"] = options.api_endpoint.startswith("http://")
    if options.image is not None:
        told["sdk_container_image"] = options.image
    else:
        told.update(_packages(options, context, folder))
    given = {key: value for key, value in told.items() if value is not None}
    return PipelineOptions(flags=[], **given)


def _packages(options: DataflowOptions, context: MapContext, folder: Path) -> dict[str, Any]:
    """What is installed on workers, as Beam's options."""
    found = write_packages(folder, requirements_of(context), context.store)
    listed = folder / "requirements.txt"
    # Beam itself is in the image, in the version that submits.
    wanted = {one for one in found.requirements if not one.startswith("apache-beam==")}
    listed.write_text("".join(f"{one}\n" for one in sorted({*wanted, *options.requirements})))
    return {
        "extra_packages": [str(wheel) for wheel in found.wheels],
        "requirements_file": str(listed),
        # Workers ask an index; nothing is downloaded here to be sent on.
        "requirements_cache": "skip",
    }


def _labels(options: DataflowOptions, context: MapContext) -> Mapping[str, str]:
    ours = {"zenml_step": safe_segment(context.step)}
    if context.run is not None:
        ours["zenml_run"] = safe_segment(context.run)
    return {**options.labels, **ours}
