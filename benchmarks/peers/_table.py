"""The peers, and what each of them needs to run offline, quietly and without telemetry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Peer:
    """One system, and how its workload is run.

    Each runs in a mode that works on one machine without a network; where it has several, in one
    of the quicker. Logging is at the level of warnings wherever a setting for it was found, while
    zenml-core is measured as it comes.
    """

    name: str
    distribution: str
    requirements: tuple[str, ...]
    #: What the author of a pipeline imports; the import that is timed.
    imports: str
    #: What outlives the process.
    keeps: Literal["nothing", "values", "values and records"]
    #: Whether a second run is served from what the first one left: always, only if the workload
    #: is told so, or never.
    caching: Literal["always", "on request", "never"] = "never"
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Files of the user's home folder, by path.
    home_files: Mapping[str, str] = field(default_factory=dict)
    #: Its processes take seconds, so there are fewer rounds and ``--quick`` leaves much out.
    heavy: bool = False
    #: Steps of the longest chain that is sane to wait for.
    longest: int = 500
    #: The workload writes this script, which is then run with the arguments beside it.
    written: tuple[str, ...] = ()
    #: A server that runs beside the workload, and the URL which answers once it does. These and
    #: the environment's values are formatted with ``home`` and ``port``.
    service: tuple[str, ...] = ()
    service_url: str = ""
    remark: str = ""

    @property
    def workload(self) -> str:
        """File name of the script in ``workloads``."""
        return f"with_{self.distribution}.py"


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="kedro",
            distribution="kedro",
            requirements=("kedro>=1,<2",),
            imports="import kedro.io, kedro.pipeline, kedro.runner",
            keeps="nothing",
            environment={"KEDRO_DISABLE_TELEMETRY": "1"},
            remark="pipeline and runner without a project around them",
        ),
        Peer(
            name="luigi",
            distribution="luigi",
            requirements=("luigi>=3,<4",),
            imports="import luigi",
            keeps="values",
            caching="always",
            remark="cached: looks only for the last step's file",
        ),
        Peer(
            name="flytekit",
            distribution="flytekit",
            requirements=("flytekit>=1.16,<2",),
            imports="from flytekit import task, workflow",
            keeps="nothing",
            caching="on request",
            remark="keeps values where the cache is asked for",
        ),
        Peer(
            name="prefect",
            distribution="prefect",
            # prefect 3.8's server passes an argument that fastapi 0.140 no longer takes, and its
            # requirements allow that combination.
            requirements=("prefect>=3.8,<4", "fastapi<0.140"),
            imports="from prefect import flow, task",
            keeps="values and records",
            caching="always",
            # Without a server of the user's, every run starts a temporary one, which takes seconds
            # and ends before it has recorded the run.
            service=("prefect", "server", "start", "--host", "127.0.0.1", "--port", "{port}"),
            service_url="http://127.0.0.1:{port}/api/health",
            environment={
                "PREFECT_API_URL": "http://127.0.0.1:{port}/api",
                "PREFECT_LOGGING_LEVEL": "WARNING",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            },
            heavy=True,
            remark="beside a server already up, which records on for seconds after the process; "
            "that work is not in the figures",
        ),
        Peer(
            name="dagster",
            distribution="dagster",
            requirements=("dagster>=1.13,<2",),
            imports="from dagster import job, op",
            keeps="values and records",
            environment={"DAGSTER_HOME": "{home}/dagster"},
            home_files={
                "dagster/dagster.yaml": "telemetry:\n  enabled: false\npython_logs:\n"
                "  python_log_level: WARNING\n"
            },
            heavy=True,
            longest=100,
            remark="in one process; its default starts one for each step",
        ),
        Peer(
            name="metaflow",
            distribution="metaflow",
            requirements=("metaflow>=2.19,<3",),
            imports="from metaflow import FlowSpec, step",
            keeps="values and records",
            environment={"USERNAME": "benchmark"},
            heavy=True,
            longest=100,
            written=("flow.py", "run"),
            remark="a process for each step",
        ),
        Peer(
            name="ZenML",
            distribution="zenml",
            # pip is for ZenML, which records what is installed in every run.
            requirements=("zenml[local]>=0.98,<0.99", "pip"),
            imports="from zenml import pipeline, step",
            keeps="values and records",
            caching="always",
            environment={
                "AUTO_OPEN_DASHBOARD": "false",
                "ZENML_ANALYTICS_OPT_IN": "false",
                "ZENML_LOGGING_VERBOSITY": "WARN",
            },
            heavy=True,
            longest=100,
            remark="the system from the package index, on its default stack",
        ),
    )
}
