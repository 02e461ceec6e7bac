"""Two plugins that claim one name are told apart by an explicit choice, never by their order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zenml.core.errors import BackendUnavailableError, ConfigurationError
from zenml.core.testing import fake_distribution
from zenml.repo import Repository

if TYPE_CHECKING:
    from core.tests.plugins.conftest import Configure, Rows


def claim(site: Path, owner: str, name: str = "prod", cls: str = "", entry: str = "x") -> None:
    """Install a distribution that offers the orchestrator ``name``."""
    cls = cls or f"{owner.capitalize()}Backend"
    module = f"{owner}_{entry}"
    fake_distribution(
        site,
        owner,
        entry_points={entry: f"{module}_plugin"},
        modules={
            f"{module}_plugin": f"""
                from zenml.core.plugins import BackendSpec, hookimpl

                @hookimpl
                def zenml_orchestrators():
                    yield BackendSpec(
                        type={name!r}, target="{module}_backend:{cls}", summary="Of {owner}."
                    )
                """,
            f"{module}_backend": f"""
                from zenml.core import OrchestratorBackend

                class {cls}(OrchestratorBackend):
                    def run(self, work):
                        work.execute_here()
                """,
        },
    )


@pytest.fixture
def both(site: Path) -> None:
    claim(site, "acme")
    claim(site, "bolt")


@pytest.mark.usefixtures("both")
def test_both_are_conflicts_that_name_each_other_and_both_ways_out(rows: Rows) -> None:
    found = rows()

    for name in ("acme/prod", "bolt/prod"):
        row = found[name]
        assert (row.status, row.cause) == (
            "conflict",
            "acme and bolt both offer orchestrator 'prod'",
        )
        assert "'acme:prod' or 'bolt:prod'" in row.remedy
        assert "plugins: {choose: {'orchestrator:prod': acme}}" in row.remedy


@pytest.mark.usefixtures("both")
def test_the_bare_name_means_neither(project: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="acme and bolt both offer"):
        Repository(project).registry.find("orchestrator", "prod")


@pytest.mark.parametrize("owner", ["acme", "bolt"])
@pytest.mark.usefixtures("both")
def test_naming_the_distribution_settles_it(project: Path, owner: str) -> None:
    offer = Repository(project).registry.find("orchestrator", f"{owner.upper()}:prod")

    assert offer.plugin.distribution == owner


@pytest.mark.parametrize("owner", ["acme", "bolt"])
@pytest.mark.usefixtures("both")
def test_the_configuration_can_choose_and_the_other_stays_reachable_by_its_full_name(
    configure: Configure, project: Path, rows: Rows, owner: str
) -> None:
    configure(f"plugins: {{choose: {{'orchestrator:prod': {owner}}}}}")
    [other] = {"acme", "bolt"} - {owner}

    found = rows()
    registry = Repository(project).registry

    assert found[f"{owner}/prod"].status == "available"
    assert found[f"{other}/prod"].status == "conflict"
    assert found[f"{other}/prod"].remedy == f"name it as '{other}:prod'"
    assert registry.find("orchestrator", "prod").plugin.distribution == owner
    assert registry.find("orchestrator", f"{other}:prod").plugin.distribution == other


@pytest.mark.usefixtures("both")
def test_what_the_printed_remedy_says_can_be_pasted_into_the_configuration(
    configure: Configure, project: Path, rows: Rows
) -> None:
    configure(rows()["acme/prod"].remedy.partition(".zenml/config.yaml: ")[2])

    assert Repository(project).registry.find("orchestrator", "prod").plugin.distribution == "acme"


@pytest.mark.usefixtures("both")
def test_disabling_one_leaves_the_name_to_the_other(configure: Configure, project: Path) -> None:
    configure("plugins: {disable: [acme]}")

    assert Repository(project).registry.find("orchestrator", "prod").plugin.distribution == "bolt"


def test_where_the_chosen_one_is_gone_nobody_takes_its_place(
    site: Path, configure: Configure, project: Path, rows: Rows
) -> None:
    claim(site, "bolt")
    configure("plugins: {choose: {'orchestrator:prod': acme}}")

    row = rows()["bolt/prod"]

    assert (row.status, row.remedy) == ("conflict", "name it as 'bolt:prod'")
    assert "gives orchestrator:prod to acme" in row.cause
    with pytest.raises(BackendUnavailableError, match="to acme"):
        Repository(project).registry.find("orchestrator", "prod")


def test_one_name_in_two_kinds_is_no_conflict(site: Path, rows: Rows) -> None:
    claim(site, "acme")
    source = (site / "acme_x_plugin.py").read_text(encoding="utf-8")
    modules = {"bolt_plugin": source.replace("zenml_orchestrators", "zenml_trainers")}
    fake_distribution(site, "bolt", entry_points={"x": "bolt_plugin"}, modules=modules)

    assert {name: row.status for name, row in rows().items()} == {
        "acme/prod": "available",
        "bolt/prod": "available",
    }


def test_two_entry_points_of_one_distribution_are_told_apart_by_disabling_one(
    site: Path, project: Path, configure: Configure
) -> None:
    claim(site, "acme", entry="one")
    info = site / "acme-1.0.dist-info"
    (info / "entry_points.txt").write_text(
        "[zenml.plugins]\none = acme_one_plugin\ntwo = acme_two_plugin\n", encoding="utf-8"
    )
    copy = (site / "acme_one_plugin.py").read_text(encoding="utf-8")
    (site / "acme_two_plugin.py").write_text(copy, encoding="utf-8")

    for name in ("prod", "acme:prod"):
        with pytest.raises(BackendUnavailableError, match="several entry points of acme") as raised:
            Repository(project).registry.find("orchestrator", name)
        assert "ZENML_DISABLE_PLUGINS=acme:" in str(raised.value.remedy)

    configure("plugins: {disable: ['acme:two']}")
    assert Repository(project).registry.find("orchestrator", "prod").plugin.name == "one"


@pytest.mark.usefixtures("both")
def test_a_conflict_cannot_be_connected_by_its_bare_class_but_the_class_knows_whose_it_is(
    project: Path,
) -> None:
    repository = Repository(project)
    backend_class = repository.registry.find("orchestrator", "bolt:prod")
    from zenml.core.plugins._registry import load_target

    row = repository.connect_backend("mine", load_target(backend_class)())

    assert (row.status, row.type, row.distribution) == ("connected", "prod", "bolt")
    assert type(repository.get_backend("mine")).__name__ == "BoltBackend"


def test_what_is_connected_stays_what_it_is_when_another_plugin_claims_its_type(
    site: Path, project: Path
) -> None:
    claim(site, "bolt")
    repository = Repository(project)
    row = next(row for row in repository.get_backends() if row.name == "prod")
    repository.connect_backend("mine", row.load()())

    claim(site, "acme")

    later = Repository(project)
    assert type(later.get_backend("mine")).__name__ == "BoltBackend"
    assert {row.status for row in later.get_backends() if row.name == "mine"} == {"connected"}


def test_a_choice_for_something_misspelt_is_an_error(configure: Configure, project: Path) -> None:
    configure("plugins: {chose: {'orchestrator:prod': acme}}")

    with pytest.raises(ConfigurationError, match="did you mean 'choose'"):
        _ = Repository(project).config
