"""Whatever is wrong with a plugin becomes a row with a status, a cause and a remedy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zenml.core.errors import (
    BackendNotFoundError,
    BackendUnavailableError,
    ConfigurationError,
)
from zenml.core.testing import fake_distribution
from zenml.repo import Repository

if TYPE_CHECKING:
    from core.tests.plugins.conftest import Plugins, Rows

SOUND = """
    from zenml.core.plugins import BackendSpec, hookimpl

    @hookimpl
    def zenml_orchestrators():
        yield BackendSpec(
            type="sound",
            target="sound_backend:SoundBackend",
            summary="Works.",
            capabilities=frozenset({"spot", "gpu"}),
        )
    """
SOUND_BACKEND = """
    from zenml.core import OrchestratorBackend

    class SoundBackend(OrchestratorBackend):
        size: int = 1

        def run(self, work):
            work.execute_here()
    """


@pytest.fixture(autouse=True)
def _sound(site: Path, rows: Rows, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """A plugin that works, and must go on working whatever is installed beside it."""
    modules = {"sound_plugin": SOUND, "sound_backend": SOUND_BACKEND}
    fake_distribution(site, "sound", entry_points={"sound": "sound_plugin"}, modules=modules)

    yield

    row = rows()["sound/sound"]
    assert (row.status, row.cause, row.remedy) == ("available", None, None)
    assert row.load()(size=2).size == 2
    assert capfd.readouterr().out == "", "no plugin may write into what a command prints"


def install(site: Path, source: str, **modules: str) -> None:
    fake_distribution(
        site,
        "acme",
        entry_points={"main": "acme_plugin"},
        modules={"acme_plugin": source, **modules},
    )


def spec(**fields: object) -> str:
    """The source of a plugin that offers one orchestrator."""
    given = {"type": "acme", "target": "acme_backend:AcmeBackend", "summary": "", **fields}
    return f"""
from zenml.core.plugins import BackendSpec, hookimpl

@hookimpl
def zenml_orchestrators():
    yield BackendSpec(**{given!r})
"""


# -- what works --------------------------------------------------------------------------------


def test_an_available_backend_has_a_full_row_and_nothing_of_it_is_imported(rows: Rows) -> None:
    row = rows()["sound/sound"]

    assert (row.kind, row.type, row.distribution, row.version) == (
        "orchestrator",
        "sound",
        "sound",
        "1.0",
    )
    assert row.capabilities == ("gpu", "spot")
    assert row.summary == "Works."
    assert row.target == "sound_backend:SoundBackend"
    assert row.usable
    assert "sound_backend" not in sys.modules


def test_rows_are_in_one_order_whatever_the_order_of_installation(
    site: Path, project: Path
) -> None:
    for name in ("zzz", "aaa"):
        fake_distribution(
            site, name, entry_points={"x": f"{name}_p"}, modules={f"{name}_p": spec(type="m")}
        )

    listed = Repository(project).get_backends()

    assert listed == sorted(listed, key=lambda row: (row.kind, row.name, row.distribution or ""))
    assert [row.distribution for row in listed if row.name == "m"] == ["aaa", "zzz"]


def test_a_kind_that_does_not_exist_is_an_error_and_not_an_empty_list(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'orchestrator'"):
        Repository(project).get_backends("orchestrators")


# -- a module that cannot be imported ----------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck ({}:1)"),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero ({}:3)"),
        ("import sys; sys.exit(3)", "it called sys.exit(3) while it was imported"),
        ("import sys; sys.exit('bye')", "it called sys.exit('bye')"),
        ("raise SystemExit", "it called sys.exit(None)"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("class Mine(BaseException): pass\nraise Mine('x')", "Mine: x ({}:2)"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("x = 1\n  y = 2", "({}:2)"),
        ("raise ImportError('cannot import name')", "ImportError: cannot import name"),
        ("raise ModuleNotFoundError('install x')", "ModuleNotFoundError: install x"),
        ("raise RuntimeError('two\\nlines\\n\\n  more')", "RuntimeError: two lines more"),
        ("raise RuntimeError('\\udc80')", "RuntimeError: \\udc80"),
        ("class E(Exception):\n def __str__(s): raise s\nraise E", "E, which cannot be shown"),
        ("class E(Exception):\n def __str__(s): return 3\nraise E", "E, which cannot be shown"),
        ("def f(): f()\nf()", "RecursionError"),
        ("raise MemoryError", "MemoryError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_broken(
    site: Path, rows: Rows, source: str, cause: str
) -> None:
    install(site, source)

    row = rows()["acme/main"]

    assert (row.kind, row.status) == ("plugin", "broken")
    assert cause.format(site / "acme_plugin.py") in str(row.cause)
    assert row.cause.splitlines() == [row.cause]
    assert row.remedy == "report it to the authors of acme, or set ZENML_DISABLE_PLUGINS=acme"
    assert not row.usable


def test_a_cause_has_a_bearable_length(site: Path, rows: Rows) -> None:
    install(site, "raise RuntimeError('x' * 1_000_000)")

    assert len(rows()["acme/main"].cause) < 1000


def test_a_missing_dependency_is_told_without_guessing_what_to_install(
    site: Path, rows: Rows
) -> None:
    install(site, "import google_cloud_sdk.storage")

    row = rows()["acme/main"]

    assert row.status == "missing-dependency"
    assert "No module named 'google_cloud_sdk'" in row.cause
    assert row.remedy.startswith("pip install --force-reinstall acme should bring google_cloud_sdk")


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ("no_such_module", "its entry point names no_such_module, and there is no no_such_module"),
        ("acme_pkg.gone", "its entry point names acme_pkg.gone, and there is no acme_pkg.gone"),
        ("acme_plugin:obj", "its entry point names 'acme_plugin:obj', not a module"),
        ("", "its entry point names '', not a module"),
        (".relative", "not a module"),
        ("acme plugin", "not a module"),
        ("os; import sys", "not a module"),
    ],
)
def test_an_entry_point_that_names_no_module_is_broken(
    site: Path, rows: Rows, entry: str, cause: str
) -> None:
    modules = {"acme_pkg": "", "acme_pkg.other": ""}
    fake_distribution(site, "acme", entry_points={"main": entry}, modules=modules)

    row = rows()["acme/main"]

    assert row.status == "broken"
    assert cause in row.cause
    assert row.remedy


def test_a_package_with_a_syntax_error_in_its_init_is_broken(site: Path, rows: Rows) -> None:
    modules = {"acme_pkg": "def broken(:", "acme_pkg.plugin": spec()}
    fake_distribution(site, "acme", entry_points={"main": "acme_pkg.plugin"}, modules=modules)

    row = rows()["acme/main"]

    assert row.status == "broken"
    assert f"{site / 'acme_pkg' / '__init__.py'}:1" in row.cause


def test_a_circular_import_is_broken(site: Path, rows: Rows) -> None:
    install(site, "import acme_other\nVALUE = 1", acme_other="from acme_plugin import VALUE")

    row = rows()["acme/main"]

    assert row.status == "broken"
    assert "cannot import name 'VALUE'" in row.cause


def test_a_plugin_that_asks_for_the_registry_while_it_answers_is_broken(
    site: Path, rows: Rows
) -> None:
    install(
        site,
        """
        from zenml.core.plugins import hookimpl
        from zenml.repo import Repository

        @hookimpl
        def zenml_orchestrators():
            return Repository().get_backends()
        """,
    )

    row = rows()["acme/main"]

    assert row.status == "broken"
    assert "asks what is installed while it is asked what it offers" in row.cause


def test_what_a_plugin_prints_does_not_reach_standard_output(
    site: Path, rows: Rows, capfd: pytest.CaptureFixture[str]
) -> None:
    install(site, "import sys\nprint('hello')\nsys.stdout.write('{}')\n" + spec())

    assert rows()["acme/acme"].status == "available"

    captured = capfd.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


def test_a_plugin_that_rewrites_the_path_hides_nobody(site: Path, rows: Rows) -> None:
    install(site, "import sys\nsys.path[:] = [p for p in sys.path if 'site-packages' not in p]")

    path = sys.path[:]
    try:
        assert rows()["sound/sound"].status == "available"
    finally:
        sys.path[:] = path


# -- hooks that answer nonsense ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("return 5", "zenml_orchestrators returned a int, not BackendSpecs"),
        ("return object", "returned the class object, not BackendSpecs"),
        ("return 'text'", "yielded a str, not a BackendSpec"),
        ("return {'a': 1}", "yielded a str, not a BackendSpec"),
        ("yield None", "yielded a NoneType, not a BackendSpec"),
        ("yield BackendSpec", "yielded the class BackendSpec, not a BackendSpec"),
        ("yield StoreSpec(scheme='x', target='a:B')", "yielded a StoreSpec, not a BackendSpec"),
        ("raise KeyError('gone')", "KeyError: 'gone'"),
        ("raise SystemExit(1)", "it called sys.exit(1)"),
        ("yield GOOD\n    raise OSError('half way')", "OSError: half way"),
        ("yield GOOD\n    yield GOOD", "it offers orchestrator 'good' twice"),
        ("yield BackendSpec(type='x')", "Missing required argument"),
        ("yield BackendSpec(type='x', target='a:B', summary='', gpu=1)", "gpu"),
    ],
)
def test_a_hook_that_answers_nonsense_makes_the_whole_plugin_broken(
    site: Path, rows: Rows, plugins: Plugins, body: str, cause: str
) -> None:
    install(
        site,
        f"""
from zenml.core.plugins import BackendSpec, StoreSpec, hookimpl

GOOD = BackendSpec(type="good", target="a:B", summary="")

@hookimpl
def zenml_processors():
    return [BackendSpec(type="rolled-back", target="a:B", summary="")]

@hookimpl
def zenml_orchestrators():
    {body}
""",
    )

    of_acme = {name: row for name, row in rows().items() if name.startswith("acme/")}

    assert list(of_acme) == ["acme/main"], "what it offered before is rolled back"
    assert of_acme["acme/main"].status == "broken"
    assert cause in of_acme["acme/main"].cause
    assert plugins()["acme:main"].offers == ()


@pytest.mark.parametrize("answer", ["None", "[]", "iter(())"])
def test_a_plugin_may_offer_nothing(site: Path, plugins: Plugins, answer: str) -> None:
    install(
        site,
        f"""
        from zenml.core.plugins import hookimpl

        @hookimpl
        def zenml_orchestrators():
            return {answer}
        """,
    )

    assert (plugins()["acme:main"].status, plugins()["acme:main"].offers) == ("available", ())


def test_one_spec_needs_no_list(site: Path, rows: Rows) -> None:
    install(site, spec().replace("yield", "return"))

    assert rows()["acme/acme"].status == "available"


def test_a_hook_with_a_misspelt_name_is_broken_and_the_name_is_corrected(
    site: Path, rows: Rows
) -> None:
    install(site, spec().replace("zenml_orchestrators", "zenml_orchestrater"))

    row = rows()["acme/main"]

    assert row.status == "broken"
    assert "the unknown hook zenml_orchestrater" in row.cause
    assert "did you mean 'zenml_orchestrators'?" in row.cause


def test_a_hook_that_wants_arguments_that_nobody_has_is_broken(site: Path, rows: Rows) -> None:
    install(site, spec().replace("orchestrators()", "orchestrators(colour)"))

    row = rows()["acme/main"]

    assert row.status == "broken"
    assert "colour" in row.cause


def test_two_entry_points_with_one_module_register_it_once(
    site: Path, plugins: Plugins, rows: Rows
) -> None:
    entries = {"one": "acme_plugin", "two": "acme_plugin"}
    fake_distribution(site, "acme", entry_points=entries, modules={"acme_plugin": spec()})

    assert rows()["acme/acme"].status == "available"
    assert plugins()["acme:two"].status == "broken"
    assert "another entry point names the same module" in plugins()["acme:two"].cause


# -- specs with wrong fields -------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        *({"target": bad} for bad in ("", "a", "a:", ":B", "a:B.C", "a b:C", "a..b:C", ".a:B")),
        *({"target": bad} for bad in ("a:B:C", "a:1B", "a/b:C", "a:B()", 5, None)),
        *({"type": bad} for bad in ("", " ", "a b", "a:b", "-a", "a\nb", "ä", "\x1b[31m", 7, None)),
        *({"aliases": bad} for bad in (("a b",), ("",), (1,), "Text")),
        *({"summary": bad} for bad in (None, 3, "\udc80")),
        *({"api": bad} for bad in ("1", None, 1.5, True)),
        *({"requires": bad} for bad in ("polars", (1,))),
        {"capabilities": 3},
    ],
    ids=str,
)
def test_a_spec_with_a_wrong_field_is_broken(
    site: Path, rows: Rows, fields: dict[str, object]
) -> None:
    install(site, spec(**fields))

    row = rows()["acme/main"]

    assert row.status == "broken"
    assert "zenml_orchestrators" in row.cause
    assert row.remedy


@pytest.mark.parametrize("name", ["a", "K8s", "spark-3.5", "a_b", "a+b", "9"])
def test_ordinary_names_are_accepted(site: Path, rows: Rows, name: str) -> None:
    install(site, spec(type=name))

    assert rows()[f"acme/{name}"].status == "available"


@pytest.mark.parametrize("summary", ["", "é 漢 😀", "two\nlines", "x" * 100_000, "\x1b[31mred"])
def test_a_summary_is_kept_as_it_is(site: Path, rows: Rows, summary: str) -> None:
    install(site, spec(summary=summary))

    assert rows()["acme/acme"].summary == summary


@pytest.mark.parametrize(
    ("api", "remedy"),
    [(2, "pip install --upgrade zenml-core"), (0, "pip install --upgrade acme")],
)
def test_another_version_of_the_api_is_incompatible_and_the_older_side_is_to_be_upgraded(
    site: Path, rows: Rows, project: Path, api: int, remedy: str
) -> None:
    install(site, spec(api=api))

    row = rows()["acme/acme"]

    assert (row.status, row.remedy) == ("incompatible", remedy)
    assert f"plugin API {api}" in row.cause
    with pytest.raises(BackendUnavailableError, match=f"plugin API {api}"):
        row.load()
    with pytest.raises(BackendUnavailableError, match=f"plugin API {api}"):
        Repository(project).registry.find("orchestrator", "acme")


def test_modules_that_a_spec_requires_are_looked_for_and_not_imported(
    site: Path, rows: Rows
) -> None:
    install(
        site,
        spec(requires=("heavy_sdk", "heavy_sdk.part", "os.path", "json")),
        **{"heavy_sdk": "raise AssertionError", "heavy_sdk.part": ""},
    )

    assert rows()["acme/acme"].status == "available"
    assert "heavy_sdk" not in sys.modules


def test_a_required_module_that_is_not_there_is_a_missing_dependency(
    site: Path, rows: Rows
) -> None:
    install(site, spec(requires=("json", "no_such_sdk", "no_such_sdk.part")))

    row = rows()["acme/acme"]

    assert row.status == "missing-dependency"
    assert "it needs no_such_sdk, no_such_sdk.part" in row.cause
    assert row.remedy == "pip install --force-reinstall acme"


# -- targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (None, "No module named 'acme_backend'"),
        ("", "has no attribute 'AcmeBackend'"),
        ("raise SystemExit(4)", "it called sys.exit(4)"),
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("AcmeBackend = 5", "is a int, not a class of orchestrator backends"),
        (
            "class AcmeBackend: pass",
            "is the class AcmeBackend, not a class of orchestrator backends",
        ),
        ("def AcmeBackend(): pass", "is a function, not a class of orchestrator backends"),
        (
            "from zenml.core import TrainingBackend as AcmeBackend",
            "is the class TrainingBackend, not a class of orchestrator backends",
        ),
        (
            (
                "from zenml.core import OrchestratorBackend\n"
                "class AcmeBackend(OrchestratorBackend):\n    check: bool = True"
            ),
            "AcmeBackend.check: a parameter cannot have the name of Backend.check",
        ),
        (
            (
                "from zenml.core import OrchestratorBackend\n"
                "class AcmeBackend(OrchestratorBackend):\n    kind: str = 'gpu'"
            ),
            "AcmeBackend.kind: a parameter cannot have the name",
        ),
    ],
)
def test_a_target_that_is_no_backend_is_told_when_it_is_loaded(
    site: Path, rows: Rows, source: str | None, told: str
) -> None:
    install(site, spec(), **({} if source is None else {"acme_backend": source}))
    row = rows()["acme/acme"]
    assert row.status == "available"

    with pytest.raises(BackendUnavailableError) as raised:
        row.load()

    assert told in str(raised.value)
    assert "acme_backend:AcmeBackend" in str(raised.value)
    assert raised.value.remedy


def test_a_row_is_loaded_under_the_rules_that_it_was_listed_by(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows()["sound/sound"]
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".zenml").mkdir(parents=True)
    rules = "plugins: {disable: [sound]}"
    (elsewhere / ".zenml" / "config.yaml").write_text(rules, encoding="utf-8")
    monkeypatch.chdir(elsewhere)

    assert row.load().__name__ == "SoundBackend"


# -- what is not installed ---------------------------------------------------------------------


def test_a_published_backend_that_is_not_installed_is_named_with_its_distribution(
    project: Path,
) -> None:
    registry = Repository(project).registry

    with pytest.raises(BackendNotFoundError) as raised:
        registry.find("orchestrator", "kubernetes")

    assert raised.value.remedy == "pip install zenml-k8s"


def test_a_published_plugin_that_is_installed_and_broken_is_not_to_be_installed(
    site: Path, project: Path
) -> None:
    modules = {"k8s_plugin": "raise OSError('no disk')"}
    fake_distribution(site, "zenml-k8s", entry_points={"k8s": "k8s_plugin"}, modules=modules)

    with pytest.raises(BackendNotFoundError) as raised:
        Repository(project).registry.find("orchestrator", "kubernetes")

    assert "zenml-k8s: OSError: no disk" in str(raised.value.remedy)


def test_a_misspelt_type_gets_the_nearest_installed_one(project: Path) -> None:
    with pytest.raises(BackendNotFoundError) as raised:
        Repository(project).registry.find("orchestrator", "suond")

    assert raised.value.remedy == "did you mean 'sound'?"
