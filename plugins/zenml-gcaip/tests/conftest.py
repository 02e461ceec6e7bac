"""Vertex AI and Cloud Logging in a few lines: JSON over HTTP on loopback, for the real clients."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from zenml.core import Job
from zenml.gcaip import SingleGPUTrainingGCAIPBackend


class Request(NamedTuple):
    """What the server was asked."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


class Server(ThreadingHTTPServer):
    """Answers each request with what ``answer`` gives for it, and remembers them all.

    An answer is plain data; a status and plain data; or a status and text.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Any] = lambda _: refusal(404, "not there")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self, method: str) -> list[Request]:
        return [one for one in self.requests if one.method == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        split = urlsplit(self.path)
        query = dict(parse_qsl(split.query))
        asked = Request(self.command, unquote(split.path), query, body)
        self.server.requests.append(asked)
        status, answer = 200, self.server.answer(asked)
        if isinstance(answer, tuple):
            status, answer = answer
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - as http.server calls them

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name for it
        """Say nothing."""


def refusal(code: int, message: str, status: str = "") -> tuple[int, Any]:
    """An error as Google's services give it."""
    return code, {"error": {"code": code, "message": message, "status": status}}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def backend(server: Server) -> SingleGPUTrainingGCAIPBackend:
    """In image mode, at the server."""
    return SingleGPUTrainingGCAIPBackend(
        project="my-project",
        job_dir="gs://my-bucket/jobs",
        image="europe-docker.pkg.dev/my-project/images/zenml:1",
        api_endpoint=server.url,
        logging_endpoint=server.url,
    )


@pytest.fixture
def job() -> Job:
    run = "20260102-030405-000006-abcdef"
    return Job(
        name="zenml-0102030405000006abcdef-1",
        run=run,
        pipeline="flights",
        step="train",
        attempt=1,
        store="gs://my-bucket/artifacts",
        folder=f"runs/{run}/jobs/step.train-0123456789ab/1",
        digest="0" * 64,
    )
