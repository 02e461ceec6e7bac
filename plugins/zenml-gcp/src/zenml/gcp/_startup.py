"""The scripts that Compute Engine runs on a machine: when it has booted, and before it is off."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["SHUTDOWN", "startup"]

#: Compute Engine waits some 30 s for it: that is what a job has to save its work.
SHUTDOWN: Final = "#!/bin/bash\ndocker stop -t 25 zenml\n"


def startup(
    *,
    machine: str,
    mark: str,
    requests: Mapping[str, str],
    image: str,
    command: Sequence[str],
    options: Sequence[str],
    gpus: bool,
    linger: int,
) -> str:
    """The startup script.

    Args:
        machine: URL of the machine in the API, by which it deletes itself.
        mark: What its own lines on the serial port are known by.
        requests: By cause, the id of the request by which it deletes itself.
        image: The container image.
        command: What the container executes.
        options: Of ``docker run``.
        gpus: Whether there are GPUs, which need a driver.
        linger: Seconds that the machine stays when the work has ended.
    """
    told = {"machine": machine, "mark": mark, "image": image}
    told |= {"gpus": str(int(gpus)), "linger": str(linger)}
    causes = " ".join(f"[{cause}]={request}" for cause, request in requests.items())
    lines = [
        "#!/bin/bash",
        "# Made by zenml-gcp.",
        "",
        *(f"{name}={shlex.quote(value)}" for name, value in told.items()),
        f"declare -A requests=({causes})",
        f"command=({shlex.join(command)})",
        f"options=({shlex.join(options)})",
        "",
    ]
    return "\n".join(lines) + "\n" + Path(__file__).with_name("startup.sh").read_text("utf-8")
