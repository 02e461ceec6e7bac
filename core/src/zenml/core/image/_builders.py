"""Programs that build images, and how each is asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from zenml.core.errors import ConfigurationError, Problem, ZenMLError

__all__ = ["BUILDERS", "build", "build_command", "find_builder"]

#: Programs, in the order in which they are looked for.
_PROGRAMS = ("docker", "podman", "buildah", "nerdctl")

#: Not looked for: it runs in a container of its own.
_KANIKO = "kaniko"

BUILDERS = (*_PROGRAMS, _KANIKO)

#: Lines that an error repeats of what a builder has said, and how much of each.
_SHOWN, _WIDTH = 12, 160


def find_builder() -> str | None:
    """The first builder on ``PATH``."""
    return next(iter(_on_path()), None)


def _on_path() -> list[str]:
    return [program for program in _PROGRAMS if shutil.which(program)]


def build_command(
    builder: str,
    context: Path,
    tag: str,
    arguments: Mapping[str, str],
    *,
    pip_config: Path | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """The command that builds an image.

    Args:
        builder: One of ``BUILDERS``.
        context: The build context.
        tag: What the image is called.
        arguments: Build arguments.
        pip_config: A configuration file of pip, which the image does not keep.
        options: Further options of the builder's own.

    Raises:
        ConfigurationError: the builder has no secrets.
    """
    given = [word for pair in arguments.items() for word in ("--build-arg", "=".join(pair))]
    if builder == _KANIKO:
        if pip_config is not None:
            remedy = "mount it into kaniko's own container as /run/secrets/pip.conf"
            problem = Problem("--pip-config", "kaniko keeps no secret out of an image", remedy)
            raise ConfigurationError("the image cannot be built", [problem])
        command = ["/kaniko/executor", "--context", f"dir://{context}", "--destination", tag]
        return [*command, *given, *options]
    secret = ["--secret", f"id=pip.conf,src={pip_config}"] if pip_config is not None else []
    return [builder, "build", "--tag", tag, *given, *secret, *options, str(context)]


def build(command: Sequence[str]) -> None:
    """Run a builder; what it says goes to standard error as it comes.

    Raises:
        ZenMLError: it failed, with the last that it said.
    """
    said: deque[str] = deque(maxlen=_SHOWN)
    try:
        with subprocess.Popen(  # noqa: S603 - the user's own builder
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", file=sys.stderr, flush=True)
                if line.strip():
                    said.append(line.rstrip()[:_WIDTH])
    except OSError as error:
        raise ZenMLError(f"{command[0]} cannot be started: {error.strerror}") from error
    if process.returncode:
        lines = "".join(f"\n    {line}" for line in said)
        others = [f"--builder {name}" for name in _on_path() if name != command[0]]
        instead = f"; {' or '.join(others)} would use another builder" if others else ""
        raise ZenMLError(
            f"{command[0]} failed with exit code {process.returncode}{lines and ':' + lines}",
            remedy=f"--print keeps the context and shows the command{instead}",
        )
