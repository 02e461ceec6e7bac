"""The environment: what a plan needs, and what of it is not here. Nothing is imported for it."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from zenml.core._project import PluginRules
from zenml.core.bundle import (
    Mismatch,
    check_environment,
    mismatch_report,
    required_distributions,
)
from zenml.core.contracts import BackendConfig
from zenml.core.errors import BackendNotFoundError
from zenml.core.plan import Plan, PlannedStep
from zenml.core.plan._model import PLAN_VERSION
from zenml.core.plugins import API_VERSION
from zenml.core.plugins._registry import Registry
from zenml.core.sources import Closure

API = f"api {API_VERSION}"


def install(folder: Path, name: str, version: str, files: dict[str, str] | None = None) -> None:
    """What pip leaves behind of an installed distribution."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    written = {
        f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    }
    for path, text in (written | (files or {})).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in written | (files or {})))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def plan(backend: str, **distributions: str) -> Plan:
    closure = Closure({"steps:train": "0" * 64}, distributions)
    step = PlannedStep(
        source="steps:train", code=closure.digest, kind="processing", backend=BackendConfig(backend)
    )
    return Plan(
        version=PLAN_VERSION,
        pipeline="p",
        orchestrator=BackendConfig("elsewhere"),
        steps={"train": step},
        code={closure.digest: closure},
    )


class TestWhatIsRequired:
    @pytest.fixture
    def registry(self, site: Path) -> Registry:
        plugin = """
from zenml.core.plugins import BackendSpec, hookimpl

@hookimpl
def zenml_processors():
    return BackendSpec(type="swarm", target="acme_swarm.backend:Swarm", summary="Many.")

@hookimpl
def zenml_orchestrators():
    return BackendSpec(type="elsewhere", target="acme_swarm.backend:Else", summary="Far away.")
"""
        files = {"acme_swarm/__init__.py": "", "acme_swarm/plugin.py": plugin}
        install(site, "Acme-Swarm", "2.3", files)
        entry = "[zenml.plugins]\nswarm = acme_swarm.plugin\n"
        (site / "Acme_Swarm-2.3.dist-info" / "entry_points.txt").write_text(entry)
        return Registry(PluginRules(allow=("acme-swarm",)))

    def test_what_the_steps_import_what_their_backends_are_in_and_the_core(
        self, registry: Registry
    ) -> None:
        needed = required_distributions(plan("swarm", polars="2.1.0"), registry)

        assert needed == {"acme-swarm": "2.3", "polars": "2.1.0", "zenml-core": API}

    def test_the_orchestrator_only_where_it_is_asked_for(self, registry: Registry) -> None:
        own = plan("import:steps:MyBackend")

        assert required_distributions(own, registry) == {"zenml-core": API}
        assert "acme-swarm" in required_distributions(own, registry, orchestrator=True)

    def test_a_backend_that_is_not_installed_is_an_error(self, registry: Registry) -> None:
        with pytest.raises(BackendNotFoundError, match="nowhere"):
            required_distributions(plan("nowhere"), registry)


class TestWhatIsHere:
    def test_an_environment_like_the_plans_has_no_mismatch(self, site: Path) -> None:
        install(site, "Acme.Tools", "1.0")

        required = {"acme-tools": "1.0", "zenml-core": API, "msgspec": msgspec.__version__}
        assert check_environment(required) == []

    def test_another_version_and_a_missing_distribution_are_reported(self, site: Path) -> None:
        install(site, "acme-tools", "1.1")

        found = check_environment({"no-such-thing": "3", "acme-tools": "1.0"})

        assert found == [
            Mismatch("acme-tools", "1.0", "1.1", "pip install 'acme-tools==1.0'"),
            Mismatch("no-such-thing", "3", None, "pip install 'no-such-thing==3'"),
        ]

    def test_the_core_counts_by_its_api(self) -> None:
        (found,) = check_environment({"zenml-core": "api 999"})

        assert (found.wanted, found.found) == ("api 999", API)
        assert "install the zenml-core" in found.remedy

    def test_a_module_of_no_distribution_must_at_least_be_there(self, site: Path) -> None:
        (site / "loose.py").touch()

        assert check_environment({"loose": "sha256 0123456789abcdef"}) == []
        (found,) = check_environment({"nowhere": "sha256 0123456789abcdef"})
        assert (found.name, found.found) == ("nowhere", None)

    def test_nothing_is_imported(self, site: Path) -> None:
        install(site, "acme-boom", "1.0", {"acme_boom.py": "raise SystemExit"})

        assert check_environment({"acme-boom": "1.0"}) == []
        assert "acme_boom" not in sys.modules


class TestTheReport:
    def test_it_says_what_was_wanted_what_was_found_and_what_to_do(self) -> None:
        rows = check_environment({"no-such-thing": "3", "zenml-core": "api 999"})

        assert mismatch_report(rows).splitlines() == [
            "this environment is not the one that the plan was made in: 2 distributions differ",
            "  no-such-thing  wanted 3        found nothing",
            f"  zenml-core     wanted api 999  found {API}",
            "  what to do: pip install 'no-such-thing==3'",
            f"  what to do: {rows[1].remedy}",
        ]
        assert mismatch_report([]) == ""

    def test_it_fits_a_screen(self) -> None:
        rows = check_environment({f"no-such-thing-{number}": "1" for number in range(200)})

        assert len(mismatch_report(rows).splitlines()) < 24
        assert "… and 185 more" in mismatch_report(rows)
