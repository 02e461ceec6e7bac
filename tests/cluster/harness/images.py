"""Images without a registry and without Docker, as archives: built by buildah."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import binaries
from harness._cache import cached, digest_of, remove

__all__ = ["BASE", "PAUSE", "base", "build", "name_of", "pause", "runtime"]

ROOT = Path(__file__).resolve().parents[3]
BASE = "localhost/zenml-base:1"
PAUSE = "localhost/pause:1"
SUITE = "bookworm"
#: Python of that suite.
PYTHON = "3.11"
#: The newest C library that wheels for it may need: the suite's own.
GLIBC = 36

#: What pods have of this project, whatever else is asked for.
OURS = ("zenml-core", "zenml-k8s", "zenml-local")

#: In the keys of all that is kept.
FORMAT = "docker-archive"
SCRATCH = "FROM scratch\nADD {0} /\nCMD {1}\n"


def pause() -> Path:
    """The image of the first process of each pod."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as context:
            shutil.copy(binaries.pause(), context)
            file = Path(context, "Dockerfile")
            file.write_text('FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n')
            _build(file, Path(context), PAUSE, {}, [], folder / "image.tar")

    key = digest_of([binaries.MODULES / "pause", PAUSE, FORMAT])
    return cached("pause-image", key, make) / "image.tar"


def base() -> Path:
    """A small Debian with Python, to stand in for ``python:3.11-slim``."""
    include = "python3,python3-venv,ca-certificates"

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            tree = Path(work, "tree")
            command = ["debootstrap", "--variant=minbase", f"--include={include}", SUITE]
            _run([*command, str(tree), _mirror()])
            for kept in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
                shutil.rmtree(tree / kept, ignore_errors=True)
            context = Path(work, "context")
            context.mkdir()
            _run(["tar", "--numeric-owner", "-C", str(tree), "-cf", f"{context}/tree.tar", "."])
            file = context / "Dockerfile"
            file.write_text(SCRATCH.format("tree.tar", '["python3"]'))
            _build(file, context, BASE, {}, [], folder / "image.tar")

    return cached("base-image", digest_of([SUITE, include, BASE, FORMAT]), make) / "image.tar"


def build(
    dockerfile: Path,
    context: Path,
    tag: str,
    build_args: Mapping[str, str] | None = None,
    *,
    images: Sequence[Path] = (),
) -> Path:
    """The image of a Dockerfile as an archive, built anew if anything in it has changed.

    Args:
        dockerfile: The file.
        context: The folder that it copies from.
        tag: The image's name, as ``localhost/name:tag``.
        build_args: Values of its arguments.
        images: Archives of the images that it may begin from; there is no registry.
    """
    given = dict(build_args or {})
    parts = [FORMAT, dockerfile, context, tag, json.dumps(given, sort_keys=True), *map(str, images)]

    def make(folder: Path) -> None:
        _build(dockerfile, context, tag, given, images, folder / "image.tar")

    return cached("images", digest_of(parts), make, keep=6) / "image.tar"


def runtime(requirements: Sequence[str] = ()) -> Path:
    """The image that pods run zenml in: zenml-core's Dockerfile with the wheels of this checkout.

    Args:
        requirements: What is installed besides ``OURS``, such as ``zenml-steps[sklearn]``.
    """
    asked = sorted({*OURS, *map(_name, requirements)} - {"zenml-core"})
    sources = [ROOT / "core", *(ROOT / "plugins" / name for name in asked)]
    files = [
        ROOT / "core/src/zenml/core/image/Dockerfile",
        ROOT / "constraints.txt",
        Path(__file__),
    ]
    parts = [*(part / "src" for part in sources), *(part / "pyproject.toml" for part in sources)]
    tag = "localhost/zenml:test"

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            context = Path(work, "context")
            wanted = [*OURS, *requirements]
            _wheels(context / "wheels", wanted, Path(work))
            (context / "requirements.txt").write_text("\n".join(wanted), encoding="utf-8")
            given = {"BASE": BASE, "PIP_NO_INDEX": "1"}
            _build(files[0], context, tag, given, [base()], folder / "image.tar")

    key = digest_of([*parts, *files, *requirements])
    return cached("runtime-image", key, make, keep=4) / "image.tar"


def name_of(archive: Path) -> str:
    """The name of the image in an archive."""
    with tarfile.open(archive) as file:
        member = file.extractfile("manifest.json")
        assert member is not None
        [manifest] = json.load(member)
    [name] = manifest["RepoTags"]
    return str(name)


# -- inside ----------------------------------------------------------------------------------------


def _run(command: Sequence[str], **variables: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def _build(
    dockerfile: Path,
    context: Path,
    tag: str,
    build_args: Mapping[str, str],
    images: Sequence[Path],
    archive: Path,
) -> None:
    # Storage of its own for each build: nothing is left, not even by one that was killed.
    storage = Path(tempfile.mkdtemp(prefix=".storage-", dir=archive.parent))
    policy = storage / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    driver = _driver(storage)
    buildah = ["buildah", "--root", f"{storage}/root", "--runroot", f"{storage}/run"]
    buildah += ["--storage-driver", driver]
    trusting = ["--signature-policy", str(policy)]
    try:
        for image in images:
            loaded = _run([*buildah, "pull", "--quiet", *trusting, f"docker-archive:{image}"])
            _run([*buildah, "tag", loaded.split()[-1], name_of(image)])
        arguments = [
            word for pair in build_args.items() for word in ("--build-arg", "=".join(pair))
        ]
        offline = ["--isolation", "chroot", "--pull-never", "--timestamp", "0", *trusting]
        named = ["--file", str(dockerfile), "--tag", tag, str(context)]
        _run([*buildah, "bud", *offline, *arguments, *named])
        # Of the formats of archives this is the one whose layers are not compressed.
        to = f"docker-archive:{archive}:{tag}"
        _run([*buildah, "push", "--quiet", *trusting, tag, to])
    finally:
        remove(storage)


def _driver(storage: Path) -> str:
    """Layers as mounts where the machine can, which copies nothing."""
    folders = [storage / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    lower, upper, work, merged = folders
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    command = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        return "vfs"
    subprocess.run(["umount", str(merged)], check=True)
    return "overlay"


def _mirror() -> str:
    """Where the machine's own apt gets the suite from."""
    folder = Path("/etc/apt")
    for file in sorted([folder / "sources.list", *folder.glob("sources.list.d/*")]):
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        for stanza in text.split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+):\s*(.+)$", stanza, re.MULTILINE))
            if SUITE in fields.get("Suites", "").split() and "deb" in fields.get("Types", ""):
                return fields["URIs"].split()[0]
        line = re.search(rf"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{SUITE}\s", text, re.MULTILINE)
        if line is not None:
            return line[1]
    raise RuntimeError(f"this machine's apt knows no source of {SUITE}, which the image is made of")


def _name(requirement: str) -> str:
    """The distribution that is required."""
    return re.split(r"[^\w-]", requirement)[0]


def _wheels(folder: Path, requirements: Sequence[str], work: Path) -> None:
    """Fill a folder with the wheels of requirements, ours among them, and of all that they need."""
    venv.create(work / "venv", with_pip=True)
    python = str(work / "venv" / "bin" / "python")
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    _run([python, "-m", "pip", "install", "--quiet", "--upgrade", *constraints, "hatchling", "pip"])
    _run([python, str(ROOT / ".ci" / "wheels.py"), str(work / "ours")])
    machine = platform.machine()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 16, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    _run(
        [python, "-m", "pip", "download", "--quiet", "--dest", str(folder), *constraints]
        + ["--constraint", str(work / "ours" / "local.txt")]
        + ["--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp"]
        + [word for name in platforms for word in ("--platform", name)]
        + [*requirements]
    )
