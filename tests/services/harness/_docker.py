"""What a machine of the stand-in for Compute Engine has for docker.

    python -I -S _docker.py FOLDER ARGUMENT…

``FOLDER`` is the machine's. Its ``images.json`` tells the registry: the folder of an environment by
the name of an image. A container is a command that has the programs of that environment, the
variables that ``docker run`` declares, and no others.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main(folder: Path, arguments: list[str]) -> int:
    """Do what docker does for these arguments; its exit code."""
    command, *rest = arguments or [""]
    parser = argparse.ArgumentParser(prog=f"docker {command}", allow_abbrev=False)
    told = _COMMANDS.get(command)
    if told is None:
        print(f"docker: '{command}' is not a docker command.", file=sys.stderr)
        return 1
    options, work = told
    for names, settings in options:
        parser.add_argument(*names, **settings)
    try:
        given = parser.parse_args(rest)
    except SystemExit as error:
        return 0 if error.code == 0 else 125
    return int(work(folder, given))


def _version(folder: Path, given: argparse.Namespace) -> int:
    print("Docker version 27.5.1, build cos")
    return 0


def _image(folder: Path, given: argparse.Namespace) -> int:
    if _pulled(folder, given.name).exists():
        print("[]")
        return 0
    print(f"Error response from daemon: No such image: {given.name}", file=sys.stderr)
    return 1


def _login(folder: Path, given: argparse.Namespace) -> int:
    token = sys.stdin.read()
    if not given.password_stdin or token.strip() != (folder / "token").read_text():
        print("Error response from daemon: unauthorized", file=sys.stderr)
        return 1
    settings = Path(os.environ["DOCKER_CONFIG"])
    settings.mkdir(parents=True, exist_ok=True)
    host = given.server.removeprefix("https://")
    (settings / "config.json").write_text(json.dumps({"auths": {host: {"auth": token}}}))
    print("Login Succeeded")
    return 0


def _pull(folder: Path, given: argparse.Namespace) -> int:
    host = given.name.partition("/")[0]
    settings = Path(os.environ.get("DOCKER_CONFIG", "")) / "config.json"
    if host.endswith("pkg.dev") and not (
        settings.is_file() and host in json.loads(settings.read_text())["auths"]
    ):
        print(f"Error response from daemon: Head {host}: denied: Unauthenticated", file=sys.stderr)
        return 1
    if given.name not in json.loads((folder / "images.json").read_text()):
        said = f"manifest for {given.name} not found: manifest unknown"
        print(f"Error response from daemon: {said}", file=sys.stderr)
        return 1
    _pulled(folder, given.name).touch()
    print(given.name)
    return 0


def _run(folder: Path, given: argparse.Namespace) -> int:
    if not _pulled(folder, given.image).exists():
        print(f"docker: No such image: {given.image}", file=sys.stderr)
        return 125
    environment = Path(json.loads((folder / "images.json").read_text())[given.image])
    path = f"{environment / 'bin'}:/usr/bin:/bin"
    variables = {"PATH": path, "HOSTNAME": folder.name}
    variables |= dict(entry.split("=", 1) for entry in given.env)
    program = shutil.which(given.entrypoint, path=variables["PATH"])
    if program is None:
        said = f'exec: "{given.entrypoint}": executable file not found in $PATH'
        print(f"docker: Error response from daemon: {said}: unknown.", file=sys.stderr)
        return 127
    name = _container(folder, given.name)
    cwd = folder / "docker" / "workspace"
    cwd.mkdir(exist_ok=True)
    process = _remote().start(
        [program, *given.arguments], variables, cwd=cwd, output=sys.stdout.fileno()
    )
    signal.signal(signal.SIGTERM, lambda *_: process.signal(signal.SIGTERM))
    signal.signal(signal.SIGINT, lambda *_: process.signal(signal.SIGINT))
    name.write_text(str(os.getpid()))
    (folder / "docker" / "run.json").write_text(json.dumps(vars(given)))
    try:
        return int(process.wait())
    finally:
        name.unlink(missing_ok=True)


def _stop(folder: Path, given: argparse.Namespace) -> int:
    return _end(folder, given.name, given.time)


def _kill(folder: Path, given: argparse.Namespace) -> int:
    return _end(folder, given.name, None)


def _remove(folder: Path, given: argparse.Namespace) -> int:
    if given.force and _container(folder, given.name).exists():
        return _end(folder, given.name, None)
    print(f"Error response from daemon: No such container: {given.name}", file=sys.stderr)
    return 1


def _end(folder: Path, name: str, grace: float | None) -> int:
    """SIGTERM, and SIGKILL after so many seconds; without any, at once."""
    try:
        running = _container(folder, name)
        pid = int(running.read_text())
        if grace is not None:
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + grace
            while running.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        # What keeps the container ends it with the process that has started it.
        os.kill(pid, signal.SIGKILL)
    except FileNotFoundError:
        print(f"Error response from daemon: No such container: {name}", file=sys.stderr)
        return 1
    except ProcessLookupError:
        pass
    print(name)
    return 0


def _pulled(folder: Path, image: str) -> Path:
    return folder / "docker" / f"image-{image.encode().hex()}"


def _container(folder: Path, name: str) -> Path:
    return folder / "docker" / f"container-{name}"


def _remote() -> Any:
    """``harness.remote``, without the package and what that imports."""
    path = Path(__file__).with_name("remote.py")
    spec = importlib.util.spec_from_file_location("remote", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["remote"] = module
    spec.loader.exec_module(module)
    return module


_FLAG = {"action": "store_true"}

_COMMANDS: dict[str, tuple[list[tuple[tuple[str, ...], dict[str, Any]]], Any]] = {
    "version": ([], _version),
    "image": ([(("inspect",), {"choices": ["inspect"]}), (("name",), {})], _image),
    "login": (
        [(("--username",), {}), (("--password-stdin",), _FLAG), (("server",), {})],
        _login,
    ),
    "pull": ([(("--quiet",), _FLAG), (("name",), {})], _pull),
    "run": (
        [
            (("--rm",), _FLAG),
            (("--name",), {"required": True}),
            (("--network",), {"choices": ["host", "bridge", "none"]}),
            (("--ipc",), {"choices": ["host", "private"]}),
            (("--stop-timeout",), {"type": int}),
            (("--env",), {"action": "append", "default": []}),
            (("--volume",), {"action": "append", "default": []}),
            (("--device",), {"action": "append", "default": []}),
            (("--gpus",), {}),
            (("--entrypoint",), {"required": True}),
            (("image",), {}),
            (("arguments",), {"nargs": argparse.REMAINDER}),
        ],
        _run,
    ),
    "stop": ([(("-t", "--time"), {"type": float, "default": 10.0}), (("name",), {})], _stop),
    "rm": ([(("--force",), _FLAG), (("name",), {})], _remove),
    "kill": ([(("name",), {})], _kill),
}

if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
    except subprocess.SubprocessError as error:
        sys.exit(f"docker: {error}")
