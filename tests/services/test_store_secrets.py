"""Credentials: found by the standard chain, renewed when they expire, and never told to anybody."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import TOKEN, FaultProxy, GCSServer, TokenServer

from zenml.core.errors import BackendError, StoreError
from zenml.gcp import GCSArtifactStore, find_credentials


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with TokenServer() as server:
        yield server


@pytest.fixture
def account(
    tokens: TokenServer,
    private_key: str,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody has logged in."""
    for name, value in tokens.log_in(tmp_path, private_key, certificate).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def proxy(gcs_server: GCSServer, certificate: Path) -> Iterator[FaultProxy]:
    with FaultProxy(gcs_server.url, certificate=certificate) as proxy:
        yield proxy


@pytest.fixture
def store(
    gcs: str,
    proxy: FaultProxy,
    account: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[GCSArtifactStore]:
    """A store at an endpoint of its own, by TLS, with the account's token."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
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


@pytest.mark.usefixtures("account")
def test_another_account_can_be_acted_as() -> None:
    other = "other@planted-project.iam.gserviceaccount.com"

    credentials, project = find_credentials(impersonate_service_account=other)

    assert credentials.service_account_email == other
    assert project == "planted-project"
    assert find_credentials(project="mine")[1] == "mine"


@pytest.mark.usefixtures("account")
def test_an_emulator_gets_no_token(
    gcs: str, gcs_server: GCSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
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
