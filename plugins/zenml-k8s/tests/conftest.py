"""An API server in a few lines: JSON over HTTP on loopback, for the real client."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml


class Request(NamedTuple):
    """What the server was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Server(ThreadingHTTPServer):
    """Answers each request with what ``answer`` gives for it, and remembers them all.

    An answer is plain data or text; a status and one of these; or a queue, which is a stream: each
    item is an event, None ends it, and ``"break"`` cuts the connection.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Any] = lambda _: (404, {"reason": "NotFound"})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self, method: str, part: str = "") -> list[Request]:
        return [one for one in self.requests if one.method == method and part in one.path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        split = urlsplit(self.path)
        query = dict(parse_qsl(split.query))
        asked = Request(self.command, split.path, query, dict(self.headers), body)
        self.server.requests.append(asked)
        status, answer = 200, self.server.answer(asked)
        if isinstance(answer, tuple):
            status, answer = answer
        self.send_response(status)
        if isinstance(answer, queue.Queue):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._stream(answer)
            return
        data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: queue.Queue[Any]) -> None:
        event: Any = ...
        while event is not None:
            event = events.get()
            if event == "break":
                self.close_connection = True
                return
            line = b"" if event is None else json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - as http.server calls them

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name for it
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def config(server: Server) -> dict[str, Any]:
    """A kubeconfig for the server: two contexts, and a token."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "ml"}},
            {"name": "there", "context": {"cluster": "c", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "sesame"}}],
    }


@pytest.fixture
def kubeconfig(config: dict[str, Any], tmp_path: Path) -> str:
    """The same as a file."""
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)
