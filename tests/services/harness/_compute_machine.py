"""Machines of the stand-in for Compute Engine: what happens on one from its boot to its end."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import remote

__all__ = ["Machine"]

#: What the serial port remembers, in bytes.
_BUFFER = 1 << 20

#: Programs that a machine does not have, although the one below it may.
_BOOT = """
bash "$1" >>"$2" 2>&1 &
echo $! >"$3"
wait
while :; do sleep 3600; done
"""


class Machine:
    """One machine: a folder, and processes that end with it.

    Args:
        resource: The instance, as the API shows it.
        folder: An empty folder.
        settings: The server's. ``images`` is the registry: folders of environments by the names of
            images; ``environment``: further variables.
        url: Where the server is.
        broken: What it lacks: see ``ComputeServer.lack``.
    """

    def __init__(
        self,
        resource: dict[str, Any],
        folder: Path,
        settings: Mapping[str, Any],
        url: str,
        broken: frozenset[str],
    ) -> None:
        self.resource = resource
        self.folder = folder
        self.token = secrets.token_hex(16)
        self.preempted = False
        self.broken = broken
        self.since = 0.0
        self._environment = settings["environment"]
        self._host = url.removeprefix("http://") + f"/metadata/{resource['id']}"
        self._process: remote.Process | None = None
        (folder / "docker").mkdir(parents=True)
        (folder / "bin").mkdir()
        (folder / "images.json").write_text(json.dumps(settings["images"]))
        (folder / "token").write_text(self.token)
        for port in (1, 2, 3, 4):
            (folder / f"serial-{port}").touch()
        script = Path(__file__).with_name("_docker.py")
        driver = "echo no such driver; exit 1" if "driver" in broken else ""
        programs = {
            "docker": f'exec {sys.executable} -I -S {script} {folder} "$@"',
            "poweroff": f"touch {folder / 'off'}",
            # What it does to the machine below it is only written down.
            "cos-extensions": f'echo cos-extensions "$@" >>{folder / "done"}; {driver}',
            "mount": f'echo mount "$@" >>{folder / "done"}',
        }
        for program, text in programs.items():
            if program not in broken:
                path = folder / "bin" / program
                path.write_text(f"#!/bin/sh\n{text}\n")
                path.chmod(0o755)

    @property
    def metadata(self) -> dict[str, str]:
        """The entries that the instance was made with."""
        items = self.resource.get("metadata", {}).get("items", [])
        return {item["key"]: item.get("value", "") for item in items}

    @property
    def off(self) -> bool:
        """Whether it has switched itself off."""
        return (self.folder / "off").exists()

    def boot(self) -> None:
        """Run the startup script, as root's own environment would have it."""
        script = self.folder / "startup-script"
        script.write_text(self.metadata.get("startup-script", ""))
        told = (str(script), str(self.folder / "serial-1"), str(self.folder / "script.pid"))
        self.since = time.monotonic()
        self._process = remote.start(
            ["/bin/bash", "-c", _BOOT, "boot", *told],
            self._variables(),
            cwd=self.folder,
            output=self.folder / "serial-1",
        )

    def shut_down(self, seconds: float) -> None:
        """Run the shutdown script, no longer than so many seconds, and end all that runs."""
        if self._process is None:
            return
        script = self.folder / "shutdown-script"
        script.write_text(self.metadata.get("shutdown-script", ""))
        ending = remote.start(
            ["/bin/bash", str(script)],
            self._variables(),
            cwd=self.folder,
            output=self.folder / "serial-1",
        )
        try:
            ending.wait(seconds)
        except Exception:  # noqa: BLE001 - it takes too long
            ending.kill()
        self.kill()

    def kill(self) -> None:
        """End all that runs, at once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def serial(self, port: int, start: int) -> dict[str, str]:
        """What was written to a serial port, from a byte on; below 0, so many from the end."""
        data = (self.folder / f"serial-{port}").read_bytes()
        oldest = max(len(data) - _BUFFER, 0)
        first = max(len(data) + start, 0) if start < 0 else start
        first = min(max(first, oldest), len(data))
        return {
            "kind": "compute#serialPortOutput",
            "contents": data[first:].decode("utf-8", "replace"),
            "start": str(first),
            "next": str(len(data)),
        }

    def _variables(self) -> dict[str, str]:
        return {
            **self._environment,
            # The machine's own programs, and those that any has; there is no systemd here.
            "PATH": f"{self.folder / 'bin'}:{self._plain()}",
            "GCE_METADATA_HOST": self._host,
            "ZENML_SERIAL_PORT": str(self.folder / "serial-2"),
            "ZENML_WORK": str(self.folder / "work"),
        }

    def _plain(self) -> Path:
        """Programs of Container-Optimized OS that the one below has too, and none but these."""
        folder = self.folder / "usr"
        if not folder.exists():
            folder.mkdir()
            for name in _PROGRAMS:
                found = next(path for path in _places(name) if path.exists())
                (folder / name).symlink_to(found)
        return folder


_PROGRAMS = (
    *("bash", "cat", "cp", "curl", "cut", "echo", "grep", "kill", "mkdir", "rm", "sed"),
    *("seq", "setsid", "sh", "sleep", "stty", "tail", "timeout", "touch", "tr"),
)


def _places(name: str) -> list[Path]:
    return [Path(folder, name) for folder in ("/usr/bin", "/bin", "/usr/sbin", "/sbin")]
