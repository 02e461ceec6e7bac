"""What the lists of the environment and the repository rule out is never imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zenml.core.plugins._registry import get_registry, reset_registry
from zenml.core.testing import fake_distribution
from zenml.repo import Repository

Imported = Callable[[], set[str]]

if TYPE_CHECKING:
    from core.tests.plugins.conftest import Configure, Plugins, Rows

SOURCE = """
    from pathlib import Path
    from zenml.core.plugins import BackendSpec, hookimpl

    Path(__file__).with_suffix(".imported").touch()

    @hookimpl
    def zenml_orchestrators():
        yield BackendSpec(type=__name__.replace("_", "-"), target="a:B", summary="")
    """


@pytest.fixture(autouse=True)
def installed(site: Path) -> None:
    for name in ("acme-one", "Bolt.Two"):
        module = normal(name).replace("-", "_")
        entries = {"main": module, "extra": f"{module}_extra"}
        modules = dict.fromkeys(entries.values(), SOURCE)
        fake_distribution(site, name, entry_points=entries, modules=modules)


def normal(name: str) -> str:
    return name.lower().replace(".", "-")


@pytest.fixture
def imported(site: Path, plugins: Plugins) -> Imported:
    """Asks for the plugins, and returns the modules that were imported for the answer."""

    def ask() -> set[str]:
        found = plugins()
        assert set(found) == {
            f"{name}:{entry}" for name in ("acme-one", "Bolt.Two") for entry in ("main", "extra")
        }, "what is ruled out has a row nevertheless"
        modules = {path.stem for path in site.glob("*.imported")}
        disabled = {one.module for one in found.values() if one.status == "disabled"}
        assert disabled == {one.module for one in found.values()} - modules
        for one in found.values():
            assert (one.status == "disabled") == bool(one.cause and one.remedy)
            assert bool(one.offers) == (one.module in modules)
        return modules

    return ask


ALL = {"acme_one", "acme_one_extra", "bolt_two", "bolt_two_extra"}


def test_without_rules_everything_is_imported(imported: Imported) -> None:
    assert imported() == ALL


@pytest.mark.parametrize("name", ["acme-one", "ACME_ONE", "acme.one", " acme-one ,", ",acme-one,x"])
def test_a_distribution_on_the_disable_list_is_never_imported(
    imported: Imported, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", name)

    assert imported() == {"bolt_two", "bolt_two_extra"}


def test_one_entry_point_can_be_disabled(
    imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", "bolt_two:extra")

    assert imported() == ALL - {"bolt_two_extra"}


def test_several_names_are_separated_by_commas_or_spaces(
    imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", "acme-one:main, acme-one:extra bolt-two")

    assert imported() == set()


def test_only_what_is_on_the_allow_list_is_imported(
    imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_ALLOW_PLUGINS", "acme-one:main")

    assert imported() == {"acme_one"}


def test_an_empty_list_rules_nothing_out(
    imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_ALLOW_PLUGINS", " , ")
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", "")

    assert imported() == ALL


def test_disable_outweighs_allow(imported: Imported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENML_ALLOW_PLUGINS", "acme-one,bolt-two")
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", "acme-one")

    assert imported() == {"bolt_two", "bolt_two_extra"}


def test_the_repository_can_disable_and_allow(imported: Imported, configure: Configure) -> None:
    configure("plugins: {allow: [bolt-two], disable: ['Bolt_Two:extra']}")

    assert imported() == {"bolt_two"}


def test_the_lists_of_environment_and_repository_add_up(
    imported: Imported, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("plugins: {disable: [acme-one]}")
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", "bolt-two:main")

    assert imported() == {"bolt_two_extra"}


def test_a_part_of_a_name_disables_nothing(
    imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", "acme,acme-one:m,one,*,acme-*")

    assert imported() == ALL


@pytest.mark.parametrize(
    ("variable", "cause", "remedy"),
    [
        ("ZENML_DISABLE_PLUGINS", "disabled by ZENML_DISABLE_PLUGINS", "take acme-one off"),
        ("ZENML_ALLOW_PLUGINS", "not on the list of ZENML_ALLOW_PLUGINS", "add acme-one to it"),
    ],
)
def test_the_row_says_which_list_it_was_and_how_to_change_that(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, variable: str, cause: str, remedy: str
) -> None:
    monkeypatch.setenv(variable, "acme-one" if "DISABLE" in variable else "bolt-two")

    row = rows()["acme-one/main"]

    assert (row.kind, row.status) == ("plugin", "disabled")
    assert cause in row.cause
    assert remedy in row.remedy


def test_a_change_of_the_rules_is_seen_at_once(
    project: Path,
    configure: Configure,
) -> None:
    before = get_registry(project)
    configure("plugins: {disable: [acme-one]}")

    after = get_registry(project)

    assert after is not before
    assert get_registry(project) is after, "and equal rules give the same registry"
    assert {p.status for p in after.plugins if p.distribution == "acme-one"} == {"disabled"}


def test_rules_belong_to_one_repository(
    project: Path, configure: Configure, tmp_path: Path
) -> None:
    configure("plugins: {disable: [acme-one]}")
    other = tmp_path / "other"
    (other / ".zenml").mkdir(parents=True)

    statuses = [
        {plugin.distribution: plugin.status for plugin in Repository(root).registry.plugins}
        for root in (project, other)
    ]

    assert [found["acme-one"] for found in statuses] == ["disabled", "available"]


def test_what_is_installed_later_is_seen_after_a_reset(site: Path, plugins: Plugins) -> None:
    assert "late:main" not in plugins()
    # As another process would have installed it.
    info = site / "late-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[zenml.plugins]\nmain = late\n", encoding="utf-8")
    (site / "late.py").write_text("", encoding="utf-8")
    assert "late:main" not in plugins()

    reset_registry()

    assert plugins()["late:main"].status == "available"
