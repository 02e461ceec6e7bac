"""What the stand-ins for Google's services of jobs share: HTTP, JSON, refusals, and a folder."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Refused", "Service"]


class Refused(Exception):  # noqa: N818 - an answer, not an error of the service
    """What the service answers in place of what it was asked for.

    Args:
        code: HTTP status.
        status: Name of google.rpc.Code.
        message: In words.
    """

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.body = {"error": {"code": code, "message": message, "status": status}}


class Service(ABC):
    """A REST service on loopback, on a free port; use it as a context. What it runs ends with it.

    Attributes:
        host: What clients know this machine by.
        protocol: The version of HTTP. With 1.0 there is a connection for each request.
        url: Where it is.
        requests: Method, path and body of every request, as they came.
    """

    host: ClassVar[str] = "127.0.0.1"
    protocol: ClassVar[str] = "HTTP/1.1"

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, str]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix=f"zenml-{type(self).__name__.lower()}-")
        handler = type("Handler", (_Handler,), {"service": self, "protocol_version": self.protocol})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://{self.host}:{self._http.server_port}"
        self._serving = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._serving.join()
        self._stop()
        for thread in self._threads:
            thread.join(timeout=60)
        self._folder.cleanup()

    def serve(self, method: str, path: str, query: dict[str, str], body: str) -> dict[str, Any]:
        """Remember a request, and answer it."""
        with self._lock:
            self.requests.append((method, path, body))
        return self.answer(method, path, query, body)

    @abstractmethod
    def answer(self, method: str, path: str, query: dict[str, str], body: str) -> dict[str, Any]:
        """What a request is answered with. Raises ``Refused``."""

    @abstractmethod
    def _stop(self) -> None:
        """Tell everything that runs to end."""


class _Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True
    service: Service

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        split = urlsplit(self.path)
        # Those with a dollar say how to answer, and it is always JSON.
        query = {name: value for name, value in parse_qsl(split.query) if name[0] != "$"}
        code = 200
        try:
            answer = self.service.serve(self.command, unquote(split.path), query, body)
        except Refused as refused:
            code, answer = refused.code, refused.body
        data = json.dumps(answer).encode()
        with contextlib.suppress(ConnectionError):
            self.send_response(code)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - as http.server calls them

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name for it
        """Say nothing."""
