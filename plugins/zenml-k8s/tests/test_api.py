"""Who is asked, as whom, and what the answers mean."""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from zenml.core.errors import BackendError
from zenml.k8s import OrchestratorKubernetesBackend
from zenml.k8s._api import Api, ApiError, connect


def api_of(config: dict[str, Any], folder: Path, **options: Any) -> Api:
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return connect(OrchestratorKubernetesBackend(kubernetes_config_path=str(path), **options))


def test_the_kubeconfig_says_where_and_as_whom(server: Any, config: Any, tmp_path: Path) -> None:
    server.answer = lambda _: {"items": []}
    api = api_of(config, tmp_path)
    assert (api.host, api.namespace) == (server.url, "ml")
    api.get("/api")
    headers = {name.lower(): value for name, value in server.requests[-1].headers.items()}
    assert headers["authorization"] == "Bearer sesame"


def test_a_context_can_be_chosen(config: Any, tmp_path: Path) -> None:
    assert api_of(config, tmp_path, context="there").namespace == "default"
    assert api_of(config, tmp_path, context="there", namespace="mine").namespace == "mine"
    with pytest.raises(BackendError, match="nowhere") as caught:
        api_of(config, tmp_path, context="nowhere")
    assert "kubectl config get-contexts" in (caught.value.remedy or "")


def test_an_exec_plugin_is_asked_for_the_token(server: Any, config: Any, tmp_path: Path) -> None:
    told = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-the-plugin"},
    }
    script = tmp_path / "plugin.py"
    script.write_text(f"print({json.dumps(json.dumps(told))})")
    config["users"][0]["user"] = {
        "exec": {
            "apiVersion": told["apiVersion"],
            "command": sys.executable,
            "args": [str(script)],
            "interactiveMode": "Never",
        }
    }
    server.answer = lambda _: {}
    api_of(config, tmp_path).get("/api")
    headers = {name.lower(): value for name, value in server.requests[-1].headers.items()}
    assert headers["authorization"] == "Bearer from-the-plugin"


def test_a_proxy_stands_between(server: Any, config: Any, tmp_path: Path) -> None:
    server.answer = lambda _: {"seen": "by the proxy"}
    config["clusters"][0]["cluster"]["server"] = "http://cluster.invalid:6443"
    api = api_of(config, tmp_path, proxy=server.url)
    assert api.get("/api") == {"seen": "by the proxy"}
    # What a proxy is asked for is a whole URL.
    assert server.requests[-1].headers["Host"] == "cluster.invalid:6443"


def test_no_kubeconfig_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(BackendError, match="there is no kubeconfig") as caught:
        connect(OrchestratorKubernetesBackend())
    assert str(tmp_path / "none") in (caught.value.where or "")


def test_a_kubeconfig_that_changed_is_read_again(config: Any, tmp_path: Path) -> None:
    first = api_of(config, tmp_path)
    assert api_of(config, tmp_path, memory="1Gi") is not first  # written anew
    path = tmp_path / "config"
    options = {"kubernetes_config_path": str(path)}
    second = connect(OrchestratorKubernetesBackend(**options))
    assert connect(OrchestratorKubernetesBackend(**options, memory="2Gi")) is second


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_a_connection_error(server: Any, kubeconfig: str, status: int) -> None:
    server.answer = lambda _: (status, {"reason": "Busy", "message": "not now"})
    with pytest.raises(ConnectionError, match="not now"):
        connect(OrchestratorKubernetesBackend(kubernetes_config_path=kubeconfig)).get("/api")


def test_a_refusal_has_its_status_and_words(server: Any, kubeconfig: str) -> None:
    server.answer = lambda _: (403, {"reason": "Forbidden", "message": "not you"})
    with pytest.raises(ApiError, match="not you") as caught:
        connect(OrchestratorKubernetesBackend(kubernetes_config_path=kubeconfig)).get("/api")
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")


def test_nobody_there_is_a_connection_error(config: Any, tmp_path: Path) -> None:
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    with pytest.raises(ConnectionError, match="cannot be reached"):
        api_of(config, tmp_path).get("/api")


def test_a_collection_is_read_page_by_page(server: Any, kubeconfig: str) -> None:
    def answer(asked: Any) -> Any:
        page = int(asked.query.get("continue", 0))
        following = {"continue": str(page + 1)} if page < 2 else {}
        return {"metadata": following, "items": [{"page": page}]}

    server.answer = answer
    api = connect(OrchestratorKubernetesBackend(kubernetes_config_path=kubeconfig))
    assert [item["page"] for item in api.list("/things")] == [0, 1, 2]


def test_certificates_are_those_that_the_user_names(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    bundle = ssl.get_default_verify_paths().cafile
    if bundle is None:
        pytest.skip("this machine has no certificates")
    api = api_of(config, tmp_path, ca_file=bundle)
    assert api._pool.connection_pool_kw["ca_certs"] == bundle
