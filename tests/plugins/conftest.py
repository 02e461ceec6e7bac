"""Whole commands, run in a process of their own beside plugins that a user might have installed."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from zenml.core.testing import fake_distribution


class Installation:
    """What a user has: some plugins, a project, and the command ``zenml``."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.project = folder / "project"
        (self.project / ".zenml").mkdir(parents=True)
        self.site.mkdir()

    def plugin(self, name: str, source: str, **modules: str) -> None:
        """Install a plugin whose only entry point has its own name, and so has the module."""
        module = name.replace("-", "_")
        modules = {module: source, **modules}
        fake_distribution(self.site, name, entry_points={name: module}, modules=modules)

    def backend(self, name: str, source: str | None = None, **fields: object) -> None:
        """Install a plugin that offers one orchestrator, named as the plugin.

        Args:
            name: The distribution's name and the backend's type.
            source: The module that its target names; one that works, unless given.
            fields: Of its spec, beside what they usually are.
        """
        module = f"{name.replace('-', '_')}_backend"
        spec = {"type": name, "target": f"{module}:ItsBackend", "summary": f"Of {name}.", **fields}
        self.plugin(
            name, OFFER.format(spec=spec), **{module: WORKING if source is None else source}
        )

    def zenml(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``zenml ARGUMENTS`` in the project."""
        return subprocess.run(
            [Path(sysconfig.get_path("scripts")) / "zenml", *arguments],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": str(self.site), "COLUMNS": "200", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    def json(self, *arguments: str, **variables: str) -> Any:
        """What ``zenml ARGUMENTS --json`` prints; nothing else may be on standard output."""
        return json.loads(self.zenml(*arguments, "--json", **variables).stdout)

    def rows(self, **variables: str) -> dict[str, dict[str, Any]]:
        """Rows of ``zenml backend list --json`` by name, without those of this project's own."""
        listed = self.json("backend", "list", **variables)
        return {
            row["name"]: row for row in listed if not str(row["distribution"]).startswith("zenml-")
        }


OFFER = """
from zenml.core.plugins import BackendSpec, hookimpl

@hookimpl
def zenml_orchestrators():
    yield BackendSpec(**{spec!r})
"""

WORKING = """
from zenml.core import Check, OrchestratorBackend, SecretRef

class ItsBackend(OrchestratorBackend):
    '''Runs things.

    Args:
        size: How many.
    '''

    size: int = 1
    key: SecretRef | None = None
    password: str = ""
    labels: dict[str, str] = {}

    def check(self):
        return [Check("size", self.size < 10, f"{self.size}", "make it smaller")]

    def run(self, work):
        work.execute_here()
"""


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)
