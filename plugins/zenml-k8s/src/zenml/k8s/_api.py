"""The API server: five verbs on plain JSON, over connections that the official client sets up.

The official client reads kubeconfigs, asks exec plugins for tokens and renews them, and knows about
proxies and certificates. Its models are left out: they take longer to import and to fill than the
requests do, they differ from one version of the client to the next, and an API server that is newer
than they are says things that they do not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from zenml.core.errors import BackendError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from zenml.k8s._options import KubernetesOptions

__all__ = ["Api", "ApiError", "Stream", "connect", "jobs_in", "pods_in"]

_CONNECT, _READ = 10.0, 30.0
_NAMESPACE_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


class ApiError(Exception):
    """The API server has refused a request.

    Attributes:
        status: The HTTP status.
        reason: In one word, as Kubernetes has it: ``Forbidden``, ``AlreadyExists``.
        message: In words.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{reason or status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Stream:
    """The events of a watch: iterate once. Raises ``ConnectionError`` where it breaks."""

    def __init__(self, response: BaseHTTPResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        from urllib3.exceptions import HTTPError

        left = b""
        try:
            for chunk in self._response.stream(1 << 16, decode_content=True):
                *lines, left = (left + chunk).split(b"\n")
                for line in filter(None, lines):
                    yield json.loads(line)
        except (HTTPError, OSError, ValueError) as error:
            raise ConnectionError(f"the watch broke: {error}") from error
        finally:
            # Not to be used again: the server may still be writing.
            self._response.close()

    def stop(self) -> None:
        """Wake whoever reads it, in another thread; it breaks there."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self._response.shutdown()


class Api:
    """One cluster, as one user.

    Args:
        options: Says which cluster, and as whom.

    Attributes:
        host: URL of the API server.
        namespace: Where Jobs are if the user names no namespace.
    """

    def __init__(self, options: KubernetesOptions) -> None:
        from kubernetes.client import Configuration
        from kubernetes.client.rest import RESTClientObject

        self._configuration = Configuration()
        self.namespace = _load(options, self._configuration)
        if options.proxy is not None:
            self._configuration.proxy = options.proxy
        if options.ca_file is not None:
            self._configuration.ssl_ca_cert = os.path.expanduser(options.ca_file)
        # As many requests at once as there are threads; a connection more costs less than waiting.
        self._configuration.connection_pool_maxsize = 32
        self.host: str = self._configuration.host.rstrip("/")
        self._pool = RESTClientObject(self._configuration).pool_manager
        # Watches end with their connections, which others could use again.
        self._streams = RESTClientObject(self._configuration).pool_manager

    def rest(self) -> None:
        """Close the connections that nobody uses at the moment."""
        self._pool.clear()
        self._streams.clear()

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """An object, or a list of them. Raises ``ApiError``, ``ConnectionError``."""
        return self._json("GET", path, query)

    def find(self, path: str) -> dict[str, Any] | None:
        """An object, or None if there is none. Raises ``ApiError``, ``ConnectionError``."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make an object. Raises ``ApiError``, ``ConnectionError``."""
        return self._json("POST", path, {}, body)

    def delete(self, path: str, **options: Any) -> None:
        """Delete an object; gone is no error. Raises ``ApiError``, ``ConnectionError``."""
        try:
            self._json("DELETE", path, {}, {"kind": "DeleteOptions", "apiVersion": "v1", **options})
        except ApiError as error:
            if error.status != 404:
                raise

    def list(self, path: str, **query: str | int) -> Iterator[dict[str, Any]]:
        """Everything in a collection, page by page; see ``pages``."""
        for page in self.pages(path, **query):
            yield from page.get("items") or ()

    def pages(self, path: str, **query: str | int) -> Iterator[dict[str, Any]]:
        """The pages of a collection. Raises ``ApiError``, ``ConnectionError``."""
        token = ""
        while True:
            page = self.get(path, limit=500, **query, **({"continue": token} if token else {}))
            yield page
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return

    def text(self, path: str, **query: str | int) -> str:
        """What a path gives, as text. Raises ``ApiError``, ``ConnectionError``."""
        return self._request("GET", path, query).data.decode("utf-8", "replace")

    def stream(self, path: str, silence: float, **query: str | int) -> Stream:
        """The events of a watch, until the server ends it.

        Args:
            path: The collection.
            silence: Seconds without a word after which the connection counts as dead.
            query: Further parameters.

        Raises:
            ApiError: it is refused.
            ConnectionError: the server cannot be reached.
        """
        return Stream(self._request("GET", path, query, read=silence, preload=False))

    # -- requests --------------------------------------------------------------------------------

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._request(method, path, query, body).data)
        return found

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: Mapping[str, Any] | None = None,
        *,
        read: float = _READ,
        preload: bool = True,
    ) -> BaseHTTPResponse:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "User-Agent": "zenml-k8s"}
        for setting in self._configuration.auth_settings().values():
            if setting.get("value"):
                headers[setting["key"]] = setting["value"]
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            pool = self._pool if preload else self._streams
            response: BaseHTTPResponse = pool.request(
                method,
                url,
                headers=headers,
                body=data,
                timeout=Timeout(connect=_CONNECT, read=read),
                retries=False,
                redirect=False,
                preload_content=preload,
            )
            if response.status < 300:
                return response
            said = response.data if preload else response.read()
        except (HTTPError, OSError) as error:
            raise ConnectionError(f"{self.host} cannot be reached: {error}") from error
        raise self._refusal(response.status, said)

    def _refusal(self, status: int, said: bytes) -> Exception:
        """What a response that is none means to whoever asked."""
        try:
            told = json.loads(said)
            reason, message = str(told.get("reason") or ""), str(told.get("message") or "")
        except (ValueError, AttributeError):
            reason, message = "", said[:300].decode("utf-8", "replace")
        # Too many requests, or a server that is starting, overloaded, or behind a proxy.
        if status == 429 or status >= 500:
            return ConnectionError(f"{self.host} answers {status} {reason}: {message}".rstrip(": "))
        return ApiError(status, reason, message)


def jobs_in(namespace: str, name: str = "") -> str:
    """The path of a namespace's Jobs, or of one of them."""
    return f"/apis/batch/v1/namespaces/{namespace}/jobs" + (f"/{name}" if name else "")


def pods_in(namespace: str, name: str = "") -> str:
    """The path of a namespace's pods, or of one of them."""
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")


def _kubeconfigs(options: KubernetesOptions) -> list[str]:
    """The files that are meant, whether or not they are there."""
    given = options.kubernetes_config_path or os.environ.get("KUBECONFIG") or "~/.kube/config"
    return [os.path.expanduser(path) for path in given.split(os.pathsep) if path]


def _load(options: KubernetesOptions, configuration: Any) -> str:
    """Fill in a configuration; returns the namespace that it goes with."""
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    paths = _kubeconfigs(options)
    there = [path for path in paths if os.path.isfile(path)]
    try:
        if there:
            joined = os.pathsep.join(there)
            config.load_kube_config(joined, options.context, configuration, False)
            return options.namespace or _namespace_in(joined, options.context)
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
            own = Path(_NAMESPACE_FILE)
            return options.namespace or (own.read_text().strip() if own.exists() else "default")
    except (ConfigException, OSError, ValueError) as error:
        raise BackendError(
            f"the cluster's configuration cannot be used: {error}",
            where=", ".join(there) or "the pod's service account",
            remedy="see 'kubectl config get-contexts', and name one with context=",
        ) from error
    raise BackendError(
        "there is no kubeconfig",
        where=", ".join(paths),
        remedy="name one with kubernetes_config_path= or KUBECONFIG; 'kubectl cluster-info' should "
        "find the cluster with it",
    )


def _namespace_in(paths: str, context: str | None) -> str:
    from kubernetes import config

    contexts, active = config.list_kube_config_contexts(paths)
    found = next((entry for entry in contexts if entry["name"] == context), active)
    return str(found.get("context", {}).get("namespace") or "default")


_known: dict[tuple[Any, ...], Api] = {}
_connecting = threading.Lock()


def connect(options: KubernetesOptions) -> Api:
    """The cluster that the options name; its connections are shared within this process.

    Raises:
        BackendError: there is no configuration, or it is of no use.
    """
    paths = _kubeconfigs(options)
    # A file that was written anew may name another cluster, or another user.
    stamps = tuple(os.stat(path).st_mtime_ns if os.path.exists(path) else 0 for path in paths)
    key = (*paths, stamps, options.context, options.proxy, options.ca_file, options.namespace)
    with _connecting:
        if key not in _known:
            _known[key] = Api(options)
        return _known[key]
