"""A proxy in front of a server that does to requests and answers what networks and services do.

As a script it is a process of its own: ``python faults.py SETTINGS`` prints its URL, works until
its standard input ends, and then prints how often each rule was followed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import urlsplit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness._tied import tied

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FaultProxy", "FaultProxyProcess", "Request", "Rule", "all_faults"]

Fault = Literal[
    "status",  # the proxy answers with `status`; the server is not asked
    "refused",  # the connection is closed; the server is not asked
    "lost",  # the server acts; the connection is closed without an answer
    "truncated",  # half of the answer's body comes, then the connection is closed
    "slow",  # the answer's body comes in pieces, with `pause` between them
    "duplicated",  # the server is asked twice; the second answer counts
    "damaged",  # one bit of the answer's body is another
    "damaged request",  # one bit of the request's body is another, its last but 100th
]

#: Of a body, as much is remembered.
_KEPT = 1 << 16

#: Each n-th request fails in that way. The numbers have no common factor, so that no request always
#: meets the same.
_STATUSES: Final = {401: 31, 429: 61, 500: 71, 503: 47}
_OTHERS: Final = {"slow": 59, "refused": 53, "lost": 43, "truncated": 41, "duplicated": 37}

_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Rule:
    """What is done to which requests.

    Attributes:
        fault: See ``Fault``.
        method: A pattern of the whole method.
        path: A pattern that is searched in the path with its query.
        times: How often it is done; None for always.
        every: Do it to each n-th of the requests that match.
        status: Of the answer, for ``status``.
        pause: Seconds, for ``slow``.
        hits: How often it was done.
    """

    fault: Fault
    method: str = ".*"
    path: str = ""
    times: int | None = 1
    every: int = 1
    status: int = 503
    pause: float = 0.05
    hits: int = 0
    _seen: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether it is to be done to this request; counts it."""
        if self.times is not None and self.hits >= self.times:
            return False
        if not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        self._seen += 1
        if self._seen % self.every:
            return False
        self.hits += 1
        return True


def all_faults(*, tokens: bool = False) -> list[Rule]:
    """Rules by which about one request in six fails, in each of the ways that a request can.

    Args:
        tokens: Tokens expire, too: for clients that have some.
    """
    statuses = {status: every for status, every in _STATUSES.items() if tokens or status != 401}
    return [
        *(Rule("status", status=status, every=n, times=None) for status, n in statuses.items()),
        *(Rule(cast("Fault", fault), every=n, times=None) for fault, n in _OTHERS.items()),
    ]


@dataclass(frozen=True)
class Request:
    """What came in: the path has its query, the body is cut after 64 KiB."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class FaultProxy:
    """A proxy on loopback, on a free port; use it as a context.

    Args:
        target: URL of the server behind it, without a path.
        certificate: A file with a certificate and its key, to be spoken to by TLS.
        bearer: A pattern: how the ``Authorization`` begins that is good; the server behind it does
            not see that. What begins otherwise is for that server to judge. By default nobody needs
            any.

    Attributes:
        url: Its own. It stands in for the server's in headers.
        rules: For each request, the first one that takes it counts.
        requests: Everything that came in.
    """

    def __init__(
        self, target: str, *, certificate: Path | None = None, bearer: str | None = None
    ) -> None:
        self.target = target
        self.bearer = bearer
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._certificate = certificate
        self.url = ""

    def inject(self, fault: Fault, **how: Any) -> Rule:
        """Add a rule, which is returned; see ``Rule``."""
        rule = Rule(fault, **how)
        with self._lock:
            self.rules.append(rule)
        return rule

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        scheme = "http"
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
            self._server.tls = context
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()  # joins the threads of connections

    def _rule_for(self, request: Request) -> Rule | None:
        with self._lock:
            self.requests.append(request)
            return next((r for r in self.rules if r.takes(request.method, request.path)), None)


class FaultProxyProcess:
    """The same in a process of its own, with rules that are given once; use it as a context.

    Args:
        target: URL of the server behind it.
        rules: What is done to which requests. At the end, they know how often it was done.
        certificate: As for ``FaultProxy``.
        bearer: As for ``FaultProxy``.
    """

    def __init__(
        self,
        target: str,
        rules: list[Rule],
        *,
        certificate: Path | None = None,
        bearer: str | None = None,
    ) -> None:
        self._settings = {
            "target": target,
            "certificate": None if certificate is None else str(certificate),
            "bearer": bearer,
        }
        self.rules = rules
        self.url = ""

    def __enter__(self) -> Self:
        settings = json.dumps({**self._settings, "rules": [asdict(rule) for rule in self.rules]})
        self._process = subprocess.Popen(
            tied(sys.executable, __file__, settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        said, _no = self._process.communicate("")
        for rule, hits in zip(self.rules, json.loads(said), strict=True):
            rule.hits = hits


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    proxy: FaultProxy
    tls: ssl.SSLContext | None = None

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        self._opening = threading.Lock()
        super().__init__(*args)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.tls is not None:
            # Hands are shaken when it is read, in a thread of its own.
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._opening:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._opening:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections, which clients keep for later requests."""
        with self._opening:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave as one; otherwise each answer waits for the client's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def _pass_on(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = dict(self.headers.items())
        asked = Request(self.command, self.path, headers, body[:_KEPT])
        if proxy.bearer is not None:
            given = self.headers.get("Authorization")
            if given is None:
                self._answer(_refusal(401))
                return
            if re.match(proxy.bearer, given):
                headers = {name: value for name, value in headers.items() if value != given}
        rule = proxy._rule_for(asked)
        fault = rule.fault if rule else None
        if rule and fault == "status":
            self._answer(_refusal(rule.status))
            return
        if fault == "refused":
            self._hang_up()
            return
        if fault == "damaged request" and len(body) > 100:
            body = _flipped(body, len(body) - 100)
        answer = self._ask(headers, body)
        if fault == "duplicated":
            answer = self._ask(headers, body)
        if fault == "lost":
            self._hang_up()
        elif fault == "truncated":
            self._answer(answer, cut=len(answer.body) // 2)
        elif rule and fault == "slow":
            self._answer(answer, pause=rule.pause)
        elif fault == "damaged" and answer.body:
            flipped = _flipped(answer.body, len(answer.body) // 2)
            self._answer(_Answer(answer.status, answer.headers, flipped))
        else:
            self._answer(answer)

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = _pass_on  # noqa: N815

    def _ask(self, headers: Mapping[str, str], body: bytes) -> _Answer:
        target = urlsplit(self.server.proxy.target)
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=120)
        try:
            sent = {name: value for name, value in headers.items() if name.lower() != "host"}
            # A server may answer before it has read everything.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(self.command, self.path, body, {**sent, "Connection": "close"})
            response = connection.getresponse()
            read = response.read()
            kept = [
                (name, value.replace(self.server.proxy.target, self.server.proxy.url))
                for name, value in response.getheaders()
                if name.lower() not in _ONE_HOP
            ]
            if self.command == "HEAD":
                kept.append(("Content-Length", response.headers.get("Content-Length") or "0"))
            return _Answer(response.status, kept, read)
        finally:
            connection.close()

    def _answer(self, answer: _Answer, *, cut: int | None = None, pause: float = 0) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if cut is not None:
            self.wfile.write(answer.body[:cut])
            self._hang_up()
            return
        if pause:
            piece = max(1, -(-len(answer.body) // 8))
            for begin in range(0, len(answer.body), piece):
                self.wfile.write(answer.body[begin : begin + piece])
                self.wfile.flush()
                time.sleep(pause)
            return
        self.wfile.write(answer.body)

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Requests are remembered instead."""


def _refusal(status: int) -> _Answer:
    """An answer as Google's services give it."""
    said = {401: "Invalid Credentials", 403: "Forbidden", 429: "Rate limit exceeded"}
    message = said.get(status, "Backend Error")
    body = {"error": {"code": status, "message": message, "errors": [{"message": message}]}}
    headers = [("Content-Type", "application/json; charset=UTF-8")]
    if status == 401:
        headers.append(("WWW-Authenticate", 'Bearer error="invalid_token"'))
    return _Answer(status, headers, json.dumps(body).encode())


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def main() -> None:
    """Be a proxy until nobody needs it."""
    told = json.loads(sys.argv[1])
    certificate = None if told["certificate"] is None else Path(told["certificate"])
    with FaultProxy(told["target"], certificate=certificate, bearer=told["bearer"]) as proxy:
        proxy.rules = [Rule(**rule) for rule in told["rules"]]
        print(proxy.url, flush=True)
        sys.stdin.read()
    print(json.dumps([rule.hits for rule in proxy.rules]))


if __name__ == "__main__":
    main()
