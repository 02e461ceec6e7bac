"""The standard steps on Dataflow: the same artifacts as on this machine, to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.dataflow import DataflowServer

if TYPE_CHECKING:
    from tests.conftest import DataPath


def test_jobs_make_the_same_artifacts(
    request: pytest.FixtureRequest, gcs: str, dataflow: DataflowServer, data_path: DataPath
) -> None:
    only = None if request.config.getoption("full_parity") else data_path.one_of_each
    parameters = {
        "project": "my-project",
        "staging_location": f"{gcs}/staging",
        "api_endpoint": dataflow.url,
    }

    found = data_path.digests(
        "zenml.dataflow:ProcessingDataFlowBackend",
        parameters,
        only=only,
        steps=2,
        store=f"{gcs}/artifacts",
    )

    assert found == data_path.expected(only)
    assert not dataflow.jobs(running=True)
