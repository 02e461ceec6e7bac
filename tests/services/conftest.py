"""The services that tests run against: real servers on loopback, each for the whole session."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import (
    BEARER,
    EXECUTOR,
    IMAGE,
    PREBUILT,
    ComputeServer,
    FaultProxyProcess,
    GCSServer,
    TokenServer,
    VertexServer,
    all_faults,
    environment,
    make_certificate,
    make_private_key,
)

if TYPE_CHECKING:
    from harness.dataflow import DataflowServer


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GCSServer]:
    """Cloud Storage, for the whole session."""
    with GCSServer() as server:
        yield server


@pytest.fixture(scope="session")
def vertex(gcs_server: GCSServer) -> Iterator[VertexServer]:
    """Vertex AI, for the whole session; it has an image of ours, and one of Google's."""
    images = {
        IMAGE: environment(ours=["zenml-core", "zenml-gcp"]),
        EXECUTOR: environment(*PREBUILT, ours=[]),
    }
    with VertexServer(images, {"STORAGE_EMULATOR_HOST": gcs_server.url}) as server:
        yield server


@pytest.fixture(scope="session")
def dataflow(gcs_server: GCSServer) -> Iterator[DataflowServer]:
    """Dataflow, for the whole session; it has Beam's image, and one of ours."""
    # Where there is no Beam, nothing asks for it.
    from harness.dataflow import IMAGE, SDK_IMAGE, DataflowServer
    from harness.prism import prism

    try:
        prism()  # made now, if it is not there: no job waits for that
    except (OSError, RuntimeError) as error:
        pytest.skip(f"Prism cannot be had here: {str(error)[-500:]}")
    images = {
        SDK_IMAGE: environment("apache-beam", "google-cloud-storage", "polars", ours=[]),
        IMAGE: environment(ours=["zenml-dataflow"]),
    }
    with DataflowServer(images, gcs_server, {"STORAGE_EMULATOR_HOST": gcs_server.url}) as server:
        yield server


@pytest.fixture(scope="session")
def behind_faults(
    certificate: Path, private_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], AbstractContextManager[str]]:
    """Puts a server behind TLS, tokens that expire, and faults: one request in six fails.

    A context, in which somebody has logged in; it gives the new URL.
    """

    @contextmanager
    def put(url: str) -> Iterator[str]:
        # A process of its own, since suites look for threads and files that are left behind.
        rules = all_faults(tokens=True)
        proxy = FaultProxyProcess(url, rules, certificate=certificate, bearer=BEARER)
        with TokenServer() as tokens, proxy, pytest.MonkeyPatch.context() as patch:
            folder = tmp_path_factory.mktemp("account")
            for name, value in tokens.log_in(folder, private_key, certificate).items():
                patch.setenv(name, value)
            yield proxy.url
        assert all(rule.hits for rule in rules), f"not all were met: {rules}"

    return put


@pytest.fixture
def gcs(gcs_server: GCSServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket; whoever is started now finds its server in the environment."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    return gcs_server.make_bucket(f"test-{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def private_key() -> str:
    """The private key of a service account."""
    return make_private_key()


@pytest.fixture(scope="session")
def compute(certificate: Path) -> Iterator[ComputeServer]:
    """Compute Engine, for the whole session; its machines trust the certificate."""
    images = {IMAGE: environment(ours=["zenml-gcp"]).folder}
    with ComputeServer(images, {"CURL_CA_BUNDLE": str(certificate)}) as server:
        yield server


@pytest.fixture(scope="session")
def machine(compute: ComputeServer) -> dict[str, Any]:
    """Parameters of a backend whose machines are there."""
    return {"project": "my-project", "image": IMAGE, "api_endpoint": compute.url}


@pytest.fixture
def run_example() -> Callable[..., str]:
    """Runs a script of the examples with all services, as a reader would; gives what it prints."""
    root = Path(__file__).parents[2]

    def run(script: str, *arguments: str) -> str:
        services = [sys.executable, "tests/services/harness"]
        done = subprocess.run(
            [*services, sys.executable, f"examples/{script}", *arguments],
            cwd=root,
            env={**os.environ, "COLUMNS": "120"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
