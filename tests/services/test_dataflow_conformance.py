"""The suite of zenml-core for jobs of Dataflow."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from harness import GCSServer
from harness.dataflow import IMAGE, DataflowServer

from zenml.core import ProcessingBackend
from zenml.core.testing import ProcessingConformance
from zenml.dataflow import ProcessingDataFlowBackend


class TestProcessing(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, gcs_server: GCSServer) -> Iterator[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
            yield f"{gcs_server.make_bucket(f'conformance-{secrets.token_hex(6)}')}/artifacts"

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, dataflow: DataflowServer) -> ProcessingBackend:
        return ProcessingDataFlowBackend(
            project="my-project", image=IMAGE, api_endpoint=dataflow.url, max_num_workers=4
        )
