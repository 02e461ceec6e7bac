"""The programs of a cluster, built from the Go modules beside this file, which pin all they use."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from harness._cache import cached, digest_of

__all__ = ["KUBERNETES", "MODULES", "etcd", "kubernetes", "kwok", "pause"]

MODULES = Path(__file__).parent / "go"


def _version(module: str, requirement: str) -> str:
    text = (MODULES / module / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^require {re.escape(requirement)} (v\S+)$", text, re.MULTILINE)
    assert found is not None, f"{module}/go.mod requires no {requirement}"
    return found[1]


#: The version of Kubernetes, with its ``v``.
KUBERNETES = _version("kubernetes", "k8s.io/kubernetes")


def kubernetes() -> Path:
    """The folder with ``kube-apiserver`` and the others; some minutes when they are new."""
    major, minor, _ = KUBERNETES[1:].split(".", 2)
    said = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor}
    flags = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in said.items()]
    programs = ("kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    packages = {name: f"k8s.io/kubernetes/cmd/{name}" for name in programs}
    return _build("kubernetes", packages, " ".join(flags))


def etcd() -> Path:
    """The database of Kubernetes; older ones, as distributions have them, lack what it asks for."""
    return _build("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}) / "etcd"


def kwok() -> Path:
    """What simulates nodes."""
    return _build("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}) / "kwok"


def pause() -> Path:
    """The first process of each pod."""
    return _build("pause", {"pause": "."}) / "pause"


def _build(module: str, packages: dict[str, str], flags: str = "") -> Path:
    source = MODULES / module

    def make(folder: Path) -> None:
        for name, package in packages.items():
            command = ["go", "build", "-trimpath", "-ldflags", f"-s -w {flags}"]
            subprocess.run(
                [*command, "-o", str(folder / name), package],
                cwd=source,
                env={**os.environ, "CGO_ENABLED": "0"},
                check=True,
            )

    key = digest_of([source, json.dumps(packages), flags])
    return cached(module, key, make)
