"""``zenml.backends.*`` offers every installed backend class by name, or says why it cannot."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from zenml.core.testing import fake_distribution, importing_from

ALL = ("zenml.backends", "zenml.core.backends")
OF_KIND = {
    "orchestrator": "zenml.backends.orchestrator",
    "processing": "zenml.backends.processing",
    "training": "zenml.backends.training",
}

PLUGIN = """
    from zenml.core.plugins import BackendSpec, hookimpl

    def spec(name, **more):
        return BackendSpec(type=name.lower(), target="acme.backends:" + name, summary="", **more)

    @hookimpl
    def zenml_orchestrators():
        yield spec("AcmeOrchestratorBackend", aliases=("OldNameBackend",))
        yield spec("FutureBackend", api=99)
        yield spec("UnmetBackend", requires=("no_such_sdk",))
        yield spec("NumberBackend")
        yield spec("GoneBackend")

    @hookimpl
    def zenml_processors():
        yield spec("AcmeProcessingBackend")

    @hookimpl
    def zenml_trainers():
        yield spec("AcmeTrainingBackend")
    """
BACKENDS = """
    from zenml.core import OrchestratorBackend, ProcessingBackend, TrainingBackend

    class AcmeOrchestratorBackend(OrchestratorBackend):
        def run(self, work):
            work.execute_here()

    OldNameBackend = "the alias is a name for the class, not a name in its module"

    class AcmeProcessingBackend(ProcessingBackend):
        def map(self, units, context):
            return iter(())

    class AcmeTrainingBackend(TrainingBackend):
        def train(self, work):
            work.execute_here()

    NumberBackend = 5
    """


@pytest.fixture(autouse=True)
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "site"
    (tmp_path / ".zenml").mkdir()
    monkeypatch.chdir(tmp_path)
    modules = {"acme": "", "acme.plugin": PLUGIN, "acme.backends": BACKENDS}
    with importing_from(folder):
        fake_distribution(folder, "acme", entry_points={"x": "acme.plugin"}, modules=modules)
        yield folder


@pytest.fixture(params=[*ALL, *OF_KIND.values()])
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


@pytest.mark.parametrize("package", [*ALL, OF_KIND["orchestrator"]])
def test_a_class_is_imported_by_its_name(package: str) -> None:
    namespace: dict[str, object] = {}

    exec(f"from {package} import AcmeOrchestratorBackend", namespace)  # noqa: S102 - as a user would

    from acme.backends import AcmeOrchestratorBackend

    assert namespace["AcmeOrchestratorBackend"] is AcmeOrchestratorBackend


def test_an_alias_is_another_name_of_the_class() -> None:
    from acme.backends import AcmeOrchestratorBackend

    from zenml.backends.orchestrator import OldNameBackend

    assert OldNameBackend is AcmeOrchestratorBackend


def test_a_module_of_one_kind_offers_that_kind_only() -> None:
    for kind, package in OF_KIND.items():
        offered = {name for name in dir(importlib.import_module(package)) if "Acme" in name}
        assert offered == {f"Acme{kind.capitalize()}Backend"}
    with pytest.raises(ImportError, match="no installed plugin offers AcmeTrainingBackend"):
        from zenml.backends.orchestrator import AcmeTrainingBackend  # noqa: F401


def test_dir_lists_what_can_be_had_and_imports_none_of_it(module: ModuleType) -> None:
    listed = dir(module)

    assert any("Acme" in name for name in listed)
    assert listed == sorted(set(listed))
    assert not {"FutureBackend", "UnmetBackend"} & set(listed)
    assert "acme.backends" not in sys.modules


def test_dir_follows_what_is_installed(acme: Path) -> None:
    from zenml import backends

    assert "LateBackend" not in dir(backends)
    source = PLUGIN.replace("AcmeTraining", "Late").replace("acme.backends", "late")
    late = source.partition('yield spec("FutureBackend')[0]
    fake_distribution(
        acme,
        "late",
        entry_points={"x": "late_plugin"},
        modules={
            "late_plugin": late.replace("AcmeOrchestrator", "Late").replace("OldName", "Later"),
            "late": BACKENDS.replace("AcmeOrchestrator", "Late"),
        },
    )

    assert {"LateBackend", "LaterBackend"} <= set(dir(backends))
    assert backends.LateBackend.__module__ == "late"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("FutureBackend", "plugin API 99"),
        ("UnmetBackend", "no_such_sdk"),
        ("NumberBackend", "is a int, not a class of orchestrator backends"),
        ("GoneBackend", "has no attribute 'GoneBackend'"),
        ("OrchestratorKubernetesBackend", "pip install zenml-k8s"),
        ("AcmeOrchestratrBackend", "did you mean 'AcmeOrchestratorBackend'"),
        (
            "QuiteAnotherThingThatNobodyOffersBackend",
            "'zenml backend list' shows what is installed",
        ),
    ],
)
def test_a_name_that_cannot_be_had_says_why_and_what_to_do(name: str, told: str) -> None:
    with pytest.raises(ImportError) as raised:
        getattr(importlib.import_module("zenml.backends.orchestrator"), name)

    assert told in str(raised.value)
    assert "what to do: " in str(raised.value)


def test_a_name_that_two_plugins_offer_is_given_to_neither(acme: Path) -> None:
    modules = {
        "bolt_plugin": PLUGIN.replace("acme.backends", "bolt").replace(
            "name.lower()", "'b' + name"
        ),
        "bolt": BACKENDS,
    }
    fake_distribution(acme, "bolt", entry_points={"x": "bolt_plugin"}, modules=modules)
    from zenml.backends import orchestrator

    with pytest.raises(ImportError) as raised:
        _ = orchestrator.AcmeOrchestratorBackend

    assert "acme (acme.backends:AcmeOrchestratorBackend) and bolt (bolt:" in str(raised.value)
    assert "import the one you mean from acme.backends or bolt" in str(raised.value)
    assert "AcmeOrchestratorBackend" not in dir(orchestrator)


def test_a_conflict_about_the_type_is_told_as_that(acme: Path) -> None:
    modules = {"bolt_plugin": PLUGIN.replace("acme.backends", "bolt"), "bolt": BACKENDS}
    fake_distribution(acme, "bolt", entry_points={"x": "bolt_plugin"}, modules=modules)

    with pytest.raises(ImportError, match="acme and bolt both offer"):
        _ = importlib.import_module("zenml.backends").AcmeTrainingBackend


@pytest.mark.parametrize(
    "name", ["nothing", "__wrapped__", "__path_hooks__", "Backend_", "backend"]
)
def test_any_other_name_is_an_attribute_error_as_in_any_module(
    module: ModuleType, name: str
) -> None:
    assert not hasattr(module, name)


def test_tools_that_look_at_every_name_of_the_module_survive(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", "acme")

    inspect.getmembers(module)


def test_importing_the_modules_asks_no_plugin() -> None:
    for name in [*ALL, *OF_KIND.values()]:
        monkey = importlib.reload(importlib.import_module(name))
        assert monkey.__name__ == name

    assert "acme.plugin" not in sys.modules
