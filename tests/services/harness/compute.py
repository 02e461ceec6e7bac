"""Compute Engine: a server that speaks its REST protocol, and really runs the machines.

A machine is a folder and the processes that its startup script starts, with the metadata server,
the serial ports and the docker that it would have; a container has the programs of a clean
environment (see ``remote.py``) and the variables that it is given.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from harness._tied import tied

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ComputeServer"]


class ComputeServer:
    """A server on loopback, on a free port; use it as a context. It ends with this process.

    Args:
        images: The registry: folders of environments by the names of images.
        environment: Further variables of every machine.

    Attributes:
        url: What ``api_endpoint`` is set to.
    """

    def __init__(
        self, images: Mapping[str, Path], environment: Mapping[str, str] | None = None
    ) -> None:
        self._images = {name: str(folder) for name, folder in images.items()}
        self._environment = dict(environment or {})
        self.url = ""

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="zenml-compute-")
        settings = {
            "folder": str(Path(self._temporary.name) / "machines"),
            "images": self._images,
            "environment": self._environment,
            "zones": ["europe-west1-b", "europe-west4-a"],
            "machine_types": [
                *("e2-medium", "e2-highmem-16", "e2-standard-4", "g2-standard-8"),
                *("n1-standard-4", "a2-highgpu-1g"),
            ],
            "accelerator_types": ["nvidia-tesla-t4", "nvidia-l4", "nvidia-tesla-a100"],
        }
        log = Path(self._temporary.name) / "log"
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                tied(sys.executable, "-m", "harness._compute_server", json.dumps(settings)),
                cwd=Path(__file__).parents[1],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url:
            self.__exit__()
            raise RuntimeError(f"the server does not start: {log.read_text(errors='replace')}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._temporary.cleanup()

    @property
    def instances(self) -> str:
        """The URL of the machines of a project in a zone."""
        return f"{self.url}/compute/v1/projects/my-project/zones/europe-west1-b/instances"

    # -- what there is ---------------------------------------------------------------------------

    def machines(self) -> list[dict[str, Any]]:
        """Every machine, as the API shows it, and its ``folder``."""
        found: list[dict[str, Any]] = self._control("machines")
        return found

    def operations(self, kind: str = "") -> list[dict[str, Any]]:
        """Every operation, or those of a kind, oldest first."""
        return [one for one in self._control("operations") if kind in ("", one["operationType"])]

    def asked(self, method: str = "", part: str = "") -> list[dict[str, Any]]:
        """Every request: its ``method``, ``path``, ``query`` and ``body``."""
        found: list[dict[str, Any]] = self._control("asked")
        return [one for one in found if method in ("", one["method"]) and part in one["path"]]

    def serial(self, name: str, port: int = 2) -> str:
        """What a machine has written to a serial port."""
        [folder] = [one["folder"] for one in self.machines() if one["name"] == name]
        return Path(folder, f"serial-{port}").read_text(errors="replace")

    # -- what happens ----------------------------------------------------------------------------

    def preempt(self, name: str, seconds: float = 30.0) -> None:
        """Take a Spot machine away; it gets so many seconds."""
        self._control("preempt", name=name, seconds=seconds)

    def stop(self, name: str, user: str = "somebody@example.com") -> None:
        """Stop a machine in the console."""
        self._control("stop", name=name, user=user)

    def delete(self, name: str, user: str = "somebody@example.com") -> None:
        """Delete a machine in the console."""
        self._control("delete", name=name, user=user)

    def vanish(self, name: str) -> None:
        """Lose a machine, and every memory of it."""
        self._control("vanish", name=name)

    def fail_insert(self, code: str, message: str) -> None:
        """Have the operation of the next insert fail, which makes no machine."""
        self._control("fail", stage="operation", code=code, message=message)

    def refuse_insert(self, status: int, reason: str, message: str) -> None:
        """Have the next insert be refused."""
        self._control("fail", stage="insert", status=status, reason=reason, message=message)

    def lack(self, *parts: str) -> None:
        """What further machines lack.

        Args:
            parts: A program of theirs, such as ``docker``; the ``driver`` of a GPU; the
                ``permission`` to delete themselves.
        """
        self._control("break", parts=parts)

    def hurry(self, factor: float) -> None:
        """How much faster the time of further machines is over."""
        self._control("hurry", factor=factor)

    def _control(self, what: str, **told: Any) -> Any:
        answer = requests.post(f"{self.url}/control/{what}", json=told, timeout=60)
        answer.raise_for_status()
        return answer.json()
