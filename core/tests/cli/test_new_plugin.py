"""``zenml plugin new``: what it refuses, and that it writes a plugin as a whole or not at all."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path
from typing import get_args

import pytest

from zenml.core.cli import _new_plugin
from zenml.core.cli._new_plugin import render
from zenml.core.contracts._backend import BackendKind
from zenml.core.errors import ConfigurationError, ZenMLError
from zenml.core.plugins._registry import reset_registry
from zenml.core.testing import Project, fake_distribution, importing_from

KINDS = [*get_args(BackendKind), "store"]

#: Modules below ``zenml.core`` that plugins may import.
PUBLIC = {"errors", "lazy", "plugins", "testing"}


def _files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_is_written_the_same_each_time(kind: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()

    first = _files(render("acme-zenml", kind, into=tmp_path))
    second = _files(render("acme-zenml", kind, into=tmp_path / "other"))

    assert first == second
    assert {"pyproject.toml", ".gitignore", ".github/workflows/test.yaml", "tox.ini"} <= set(first)
    assert {"README.md", "CHANGELOG.md", "LICENSE", "tests/test_conformance.py"} <= set(first)
    assert {"src/acme_zenml/plugin.py", "src/acme_zenml/py.typed"} <= set(first)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_filled_in_everywhere(kind: str, tmp_path: Path) -> None:
    files = _files(render("northwind.compute", kind, name="north-wind", into=tmp_path))

    for name, text in files.items():
        assert not re.search(r"\$(?!\{\{ matrix)|PACKAGE|\.tmpl|[Aa]cme", name + text), name
        assert all(line == line.rstrip() for line in text.splitlines()), name
        if name.endswith(".py"):
            ast.parse(text)
        if name.endswith(".json"):
            json.loads(text)
    assert "NorthWind" in files["src/northwind_compute/__init__.py"]
    assert '"north-wind"' in files["src/northwind_compute/plugin.py"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_backend_brings_the_defaults_along(kind: str, tmp_path: Path) -> None:
    text = (render("acme-zenml", kind, into=tmp_path) / "pyproject.toml").read_text()

    [line] = re.findall("^dependencies = (.*)$", text, re.MULTILINE)
    names = [re.split("[<>=]", one)[0] for one in json.loads(line)]
    assert names == ["zenml-core", *(["zenml-local"] if kind != "store" else [])]


@pytest.mark.parametrize("kind", KINDS)
def test_the_light_module_imports_the_core_and_nothing_else(kind: str, tmp_path: Path) -> None:
    made = render("acme-zenml", kind, into=tmp_path)

    for name in ("__init__", "plugin"):
        tree = ast.parse((made / f"src/acme_zenml/{name}.py").read_text())
        at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        imported = {getattr(node, "module", None) for node in at_once}
        standard = {"__future__", "collections.abc", "typing"}
        assert imported - standard <= {"zenml.core.lazy", "zenml.core.plugins"}


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_public_is_imported(kind: str, tmp_path: Path) -> None:
    made = render("acme-zenml", kind, into=tmp_path)

    asked = [
        (node.module, alias.name)
        for file in made.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zenml.")
        for alias in node.names
    ]
    assert asked
    for module, name in asked:
        assert module == "zenml.core" or module.split(".")[2] in PUBLIC
        assert name in importlib.import_module(module).__all__


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "'' is no name of a distribution"),
        ("-acme", "'-acme' is no name of a distribution"),
        ("acme zenml", "is no name of a distribution"),
        ("../acme", "is no name of a distribution"),
        ("acmé-zenml", "is no name of a distribution"),
        ("acme-zenml\n", "is no name of a distribution"),
        ("zenml", "give it a name of yours, such as acme-zenml"),
        ("zenml-acme", "give it a name of yours, such as acme-zenml"),
        ("ZenML.acme", "give it a name of yours, such as acme-zenml"),
        ("zenml_acme_cloud", "give it a name of yours, such as acme-cloud-zenml"),
        ("3d-zenml", "'3d_zenml', which Python cannot import"),
        ("class", "'class', which Python cannot import"),
        ("json", "there is a package 'json' already"),
        ("msgspec_", "is no name of a distribution"),
    ],
)
def test_a_name_that_no_plugin_can_have_is_refused(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        render(name, "processing", name="acme", into=tmp_path)

    assert len(caught.value.problems) == 1
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_would_hide_an_installed_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    fake_distribution(tmp_path / "site", "other", modules={"acme_cloud": ""})

    with importing_from(tmp_path / "site"), pytest.raises(ConfigurationError) as caught:
        render("acme-cloud", "processing", into=tmp_path / "made")

    assert "there is a package 'acme_cloud' already" in str(caught.value)
    assert "acme-cloud-zenml" in str(caught.value)


def test_a_plugin_that_is_installed_can_be_written_again(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    module = """
        from zenml.core.plugins import BackendSpec, hookimpl

        @hookimpl
        def zenml_processors():
            yield BackendSpec(type="acme", target="acme_zenml:X", summary="x")
    """
    modules = {"acme_zenml": "", "acme_zenml.plugin": module}
    site, entry = tmp_path / "site", {"acme": "acme_zenml.plugin"}
    fake_distribution(site, "acme-zenml", entry_points=entry, modules=modules)

    with importing_from(site):
        assert render("acme-zenml", "processing", into=tmp_path / "made").is_dir()
        with pytest.raises(ConfigurationError) as caught:
            render("other-zenml", "processing", name="acme", into=tmp_path / "made")

    assert "acme-zenml offers 'acme' as processing backend already" in str(caught.value)


@pytest.mark.parametrize("name", ["", "Acme", "a_b", "1a", "a--b", "a-", "ä", "a b", "a:b"])
@pytest.mark.parametrize("kind", ["processing", "store"])
def test_a_type_or_scheme_has_a_form(kind: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is no (type|URL scheme) for a plugin"):
        render("acme-zenml", kind, name=name, into=tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "name"), [("orchestrator", "kubernetes"), ("store", "file"), ("store", "gs")]
)
def test_a_type_that_somebody_publishes_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    reset_registry()

    with pytest.raises(ConfigurationError, match=f"offers '{name}' as .* already"):
        render("acme-zenml", kind, name=name, into=tmp_path)


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        render("zenml-acme", "store", name="No", into=tmp_path / "nowhere")

    assert [problem.path for problem in caught.value.problems] == [
        "DISTRIBUTION",
        "--name",
        "--into",
    ]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "acme-zenml").mkdir()
    (tmp_path / "acme-zenml" / "mine").write_text("precious")

    with pytest.raises(ConfigurationError, match="is there already, and not an empty folder"):
        render("acme-zenml", "store", into=tmp_path)

    assert _files(tmp_path) == {"acme-zenml/mine": "precious"}


@pytest.mark.parametrize("there", ["file", "link"])
def test_what_is_no_folder_is_left_alone(there: str, tmp_path: Path) -> None:
    target = tmp_path / "acme-zenml"
    target.write_text("mine") if there == "file" else target.symlink_to("nowhere")

    with pytest.raises(ConfigurationError, match="is there already, and not an empty folder"):
        render("acme-zenml", "store", into=tmp_path)

    assert target.is_symlink() or target.read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "acme-zenml").mkdir()

    assert (render("acme-zenml", "store", into=tmp_path) / "pyproject.toml").is_file()


def test_what_cannot_be_written_whole_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    write = Path.write_text

    def fail_later(path: Path, text: str, **options: str) -> int:
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(28, "No space left on device")
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", fail_later)

    with pytest.raises(ZenMLError, match=r"cannot be written: .*No space left"):
        render("acme-zenml", "orchestrator", into=tmp_path)

    assert count > 3
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "like").mkdir()

    made = render("acme-zenml", "processing", into=tmp_path)

    assert made.stat().st_mode == (tmp_path / "like").stat().st_mode


def test_every_kind_has_a_template_and_no_template_is_left_over() -> None:
    folders = {"common", *(one for kind in _new_plugin._KINDS.values() for one in kind.folders)}
    templates = Path(_new_plugin.__file__).with_name("_templates")

    assert list(_new_plugin._KINDS) == KINDS
    assert {path.name for path in templates.iterdir()} == folders
    assert {path.suffix for path in templates.rglob("*") if path.is_file()} == {".tmpl"}


def test_the_command_says_what_to_type_next(project: Project) -> None:
    (project.folder / "my plugins").mkdir()
    told = project.zenml(
        *("plugin", "new", "acme-zenml", "--kind", "training", "--into", "my plugins")
    )

    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == [
        "made my plugins/acme-zenml: training backend for zenml, with tests; now:",
        "",
        "  pip install -e './my plugins/acme-zenml[test]'",
        "  pytest 'my plugins/acme-zenml'",
        "  zenml backend list",
    ]


@pytest.mark.parametrize("kind", ["", "orchestra", "Store"])
def test_a_kind_that_is_none_names_those_there_are(project: Project, kind: str) -> None:
    told = project.zenml("plugin", "new", "acme-zenml", "--kind", kind)

    assert told.returncode == 2
    assert all(kind in told.stderr for kind in KINDS)
    assert not (project.folder / "acme-zenml").exists()


def test_a_bad_name_is_one_short_error(project: Project) -> None:
    told = project.zenml("plugin", "new", "zenml-acme", "--kind", "store")

    assert told.returncode == 1
    assert told.stdout == ""
    assert "acme-zenml" in told.stderr
    assert len(told.stderr.splitlines()) == 2
