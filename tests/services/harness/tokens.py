"""Google's token endpoint, the key of a service account that it knows, and a server certificate."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BEARER", "TOKEN", "TokenServer", "make_certificate", "make_private_key"]

#: What each token begins with: planted, to be searched for.
TOKEN = "ya29.planted-token"  # noqa: S105

#: How what a request bears begins: such a token, or what an account has signed itself, which
#: Google's clients prefer.
BEARER = rf"Bearer ({TOKEN}|eyJ)"


class TokenServer:
    """The endpoint on loopback: gives a token for a signed assertion, another one each time.

    Attributes:
        assertions: Those that it was given.
        refuses: Whether it gives none any more.
        url: Its own.
    """

    def __init__(self) -> None:
        self.assertions: list[str] = []
        self.refuses = False
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.tokens = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def log_in(self, folder: Path, private_key: str, certificate: Path) -> dict[str, str]:
        """The variables of a user who has the key file of an account, as Google hands it out.

        Args:
            folder: Where the file is put.
            private_key: The account's.
            certificate: Of the services.
        """
        file = folder / "key.json"
        account = {
            "type": "service_account",
            "project_id": "planted-project",
            "private_key_id": "planted-key-id",
            "private_key": private_key,
            "client_email": "robot@planted-project.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": self.url,
        }
        file.write_text(json.dumps(account))
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(file),
            "REQUESTS_CA_BUNDLE": str(certificate),
            # google-auth asks a service elsewhere where an account may be used from. This server is
            # no proxy, and says so; without an answer, it may from everywhere.
            "HTTPS_PROXY": self.url.removesuffix("/token"),
            "NO_PROXY": "127.0.0.1,localhost",
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    tokens: TokenServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        tokens = self.server.tokens
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        tokens.assertions += form["assertion"]
        said: dict[str, Any] = {
            "access_token": f"{TOKEN}-{len(tokens.assertions)}",
            "expires_in": 3600,
            "token_type": "Bearer",
        }
        if tokens.refuses:
            said = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        body = json.dumps(said).encode()
        self.send_response(400 if tokens.refuses else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def make_certificate(folder: Path) -> Path:
    """A file with a certificate of 127.0.0.1 that signs itself, and its key."""
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
    file = folder / "certificate.pem"
    file.write_bytes(_pem(key) + made.public_bytes(serialization.Encoding.PEM))
    return file


def make_private_key() -> str:
    """The private key of an account, as PEM."""
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)).decode()


def _pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem
