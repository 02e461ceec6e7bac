"""Credentials: found by the standard chain, renewed when they expire, and never told to anybody."""

from __future__ import annotations

import http.server
import json
import logging
import threading
import traceback
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from harness import FaultProxy, GCSServer

from zenml.core.errors import BackendError, StoreError
from zenml.gcp import GCSArtifactStore, find_credentials

TOKEN = "ya29.planted-token"  # noqa: S105 - planted, to be searched for


class TokenServer(http.server.ThreadingHTTPServer):
    """Google's token endpoint: gives a token for a signed assertion, another one each time."""

    daemon_threads = False
    refuses = False

    def __init__(self) -> None:
        self.assertions: list[str] = []
        super().__init__(("127.0.0.1", 0), _TokenHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/token"


class _TokenHandler(http.server.BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        self.server.assertions += form["assertion"]
        said: dict[str, Any] = {
            "access_token": f"{TOKEN}-{len(self.server.assertions)}",
            "expires_in": 3600,
            "token_type": "Bearer",
        }
        if self.server.refuses:
            said = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        body = json.dumps(said).encode()
        self.send_response(400 if self.server.refuses else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    server = TokenServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    return file


@pytest.fixture(scope="module")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def key_file(tokens: TokenServer, private_key: str, tmp_path: Path) -> Path:
    """The key of a service account, as Google hands it out."""
    file = tmp_path / "key.json"
    account = {
        "type": "service_account",
        "project_id": "planted-project",
        "private_key_id": "planted-key-id",
        "private_key": private_key,
        "client_email": "robot@planted-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": tokens.url,
    }
    file.write_text(json.dumps(account))
    return file


@pytest.fixture
def proxy(gcs_server: GCSServer, certificate: Path) -> Iterator[FaultProxy]:
    with FaultProxy(gcs_server.url, certificate=certificate) as proxy:
        yield proxy


@pytest.fixture
def store(
    gcs: str,
    proxy: FaultProxy,
    key_file: Path,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[GCSArtifactStore]:
    """A store at an endpoint of its own, by TLS, with the account's token."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    store = GCSArtifactStore(f"{gcs}/store?api_endpoint={proxy.url}&deadline=5")
    yield store
    if store._connected is not None:
        store._bucket().client.close()


def tokens_seen(proxy: FaultProxy) -> list[str]:
    return [request.headers["authorization"] for request in proxy.requests]


def test_an_account_s_token_goes_with_each_request(
    store: GCSArtifactStore, proxy: FaultProxy, tokens: TokenServer
) -> None:
    store.write("x", b"bytes")

    assert store.read("x") == b"bytes"
    assert tokens_seen(proxy) == [f"Bearer {TOKEN}-1"] * 2
    assert len(tokens.assertions) == 1


def test_a_token_that_has_expired_is_renewed_and_the_request_made_again(
    store: GCSArtifactStore, proxy: FaultProxy
) -> None:
    store.write("x", b"bytes")
    for use in (
        lambda: store.read("x"),
        lambda: store.write("x", b"bytes"),
        lambda: store.write_if_absent("x", b""),
        lambda: list(store.list("")),
        lambda: store.exists("x"),
        lambda: store.open("x").close(),
        lambda: store.delete("x"),
    ):
        proxy.requests.clear()
        rule = proxy.inject("status", status=401)

        use()

        assert rule.hits == 1
        first, second, *_ = tokens_seen(proxy)
        assert first != second


def test_a_service_that_takes_no_token_ends_in_an_error(
    store: GCSArtifactStore, proxy: FaultProxy
) -> None:
    proxy.inject("status", status=401, times=None)

    with pytest.raises(StoreError, match="does not know who asks: Invalid Credentials"):
        store.read("x")


def test_an_account_that_was_taken_away_ends_in_an_error(
    store: GCSArtifactStore, tokens: TokenServer
) -> None:
    tokens.refuses = True

    with pytest.raises(StoreError, match="does not take these credentials") as caught:
        store.write("x", b"")

    assert "gcloud auth application-default login" in str(caught.value)


def test_no_credentials_at_all_say_how_to_log_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)

    with pytest.raises(BackendError, match="gcloud auth application-default login"):
        find_credentials()
    with pytest.raises(StoreError, match="gcloud auth application-default login"):
        GCSArtifactStore("gs://bucket").read("x")


def test_another_account_can_be_acted_as(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    other = "other@planted-project.iam.gserviceaccount.com"

    credentials, project = find_credentials(impersonate_service_account=other)

    assert credentials.service_account_email == other
    assert project == "planted-project"
    assert find_credentials(project="mine")[1] == "mine"


def test_an_emulator_gets_no_token(
    gcs: str, gcs_server: GCSServer, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    with FaultProxy(gcs_server.url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        store = GCSArtifactStore(gcs)
        store.write("x", b"")
        store._bucket().client.close()
    [request] = proxy.requests
    assert "authorization" not in {name.lower() for name in request.headers}


@pytest.mark.parametrize("what", ["refused", "401", "403", "404", "503", "taken away"])
def test_no_error_and_no_log_holds_a_secret(
    store: GCSArtifactStore,
    proxy: FaultProxy,
    tokens: TokenServer,
    private_key: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    what: str,
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "file").write_bytes(bytes(9 << 20))
    if what == "taken away":
        tokens.refuses = True
    elif what == "refused":
        proxy.inject("refused", method="GET|DELETE|PUT", times=None)
    else:
        proxy.inject("status", method="GET|DELETE|PUT", status=int(what), times=None)
    store = GCSArtifactStore(store.url.replace("deadline=5", "deadline=1"))
    told = [repr(store)]
    for use in (
        lambda: store.read("x"),
        lambda: store.exists("x"),
        lambda: store.delete("x"),
        lambda: list(store.list("")),
        lambda: store.open("x"),
        lambda: store.upload("x", tmp_path / "file"),  # by PUT, to an address that is a secret
    ):
        try:
            use()
        except StoreError as error:
            told += [str(error), repr(error), repr(error.args)]
            told += traceback.format_exception(error)

    said = "\n".join([*told, caplog.text, *capfd.readouterr()])
    assert "Error" in said
    for secret in (TOKEN, private_key.splitlines()[3], *tokens.assertions, "upload_id="):
        assert secret not in said
    store._bucket().client.close()
