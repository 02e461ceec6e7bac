"""The repository: where it is, what it remembers, and that it remembers no secret."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core import SecretRef
from zenml.core._yaml import load_yaml
from zenml.core.errors import (
    BackendNotFoundError,
    BackendUnavailableError,
    ConfigurationError,
)
from zenml.core.plugins._registry import reset_registry
from zenml.core.testing import fake_distribution, importing_from
from zenml.repo import Repository

PLUGIN = """
    from zenml.core.plugins import BackendSpec, hookimpl

    @hookimpl
    def zenml_orchestrators():
        yield BackendSpec(type="acme", target="acme.backends:AcmeBackend", summary="Of acme.")
    """
BACKENDS = """
    from pathlib import Path
    from typing import Any
    from zenml.core import OrchestratorBackend, SecretRef

    class AcmeBackend(OrchestratorBackend):
        region: str = "here"
        size: int = 1
        key: SecretRef | None = None
        keys: list[SecretRef] = []
        password: str = ""
        tokenizer: str = ""
        token_path: str = ""
        options: dict[str, Any] = {}
        folder: Path | None = None

        def run(self, work):
            work.execute_here()

    class Unregistered(AcmeBackend):
        pass
    """


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "site"
    modules = {"acme": "", "acme.plugin": PLUGIN, "acme.backends": BACKENDS}
    with importing_from(folder):
        fake_distribution(folder, "acme", entry_points={"x": "acme.plugin"}, modules=modules)
        yield folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / ".zenml").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def config(project: Path) -> Path:
    return project / ".zenml" / "config.yaml"


@pytest.fixture
def acme(site: Path) -> Any:
    from acme import backends

    return backends.AcmeBackend


# -- where it is -------------------------------------------------------------------------------


def test_it_is_the_nearest_folder_upwards_with_a_zenml_folder(project: Path) -> None:
    deep = project / "a" / "b"
    deep.mkdir(parents=True)

    assert Repository(deep).root == project
    assert Repository(str(deep)).root == project
    assert Repository.get_instance().root == project


def test_a_zenml_folder_further_up_counts_more_than_a_git_folder_nearby(project: Path) -> None:
    nested = project / "a"
    (nested / ".git").mkdir(parents=True)

    assert Repository(nested).root == project


def test_without_a_zenml_folder_it_is_the_git_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere", encoding="utf-8")
    (tmp_path / "a").mkdir()

    assert Repository(tmp_path / "a").root == tmp_path


def test_outside_of_everything_it_is_the_folder_itself(tmp_path: Path) -> None:
    assert Repository(tmp_path).root == tmp_path
    assert list(tmp_path.iterdir()) == [], "asking writes nothing"


def test_the_home_folder_is_no_repository_of_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".zenml").mkdir()
    (tmp_path / "work").mkdir()

    assert Repository(tmp_path / "work").root == tmp_path / "work"


@pytest.mark.parametrize("home", [None, "", "relative", "/no/such/folder"])
def test_a_user_without_a_home_has_repositories_too(
    project: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)

    assert Repository(project).root == project


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change")
def test_a_user_id_that_no_list_of_users_knows_has_repositories_too() -> None:
    program = (
        "import os, sys; from zenml.core._project import find_root; os.setuid(54321); "
        "print(find_root(sys.argv[1]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, "/"],
        env={name: value for name, value in os.environ.items() if name != "HOME"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout.strip(), done.stderr) == ("/", "")


def test_init_makes_a_folder_that_git_ignores(tmp_path: Path) -> None:
    made = Repository.init_repo(tmp_path)

    assert made.root == tmp_path
    assert (tmp_path / ".zenml" / ".gitignore").read_text(encoding="utf-8") == "*\n"


def test_init_inside_of_a_repository_makes_one_of_its_own(project: Path) -> None:
    inner = project / "inner"
    inner.mkdir()

    assert Repository.init_repo(inner).root == inner
    assert Repository(inner).root == inner


def test_init_again_changes_only_what_it_is_given(tmp_path: Path) -> None:
    Repository.init_repo(tmp_path, artifact_store_path="elsewhere")
    Repository.init_repo(tmp_path, metadata_store="sqlite:///index.db")

    config = Repository(tmp_path).config
    assert (config.artifact_store, config.metadata_store) == ("elsewhere", "sqlite:///index.db")


# -- its configuration -------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "version: 1", "~"])
def test_a_configuration_may_say_nothing(project: Path, config: Path, text: str) -> None:
    config.write_text(text, encoding="utf-8")

    assert Repository(project).config.backends == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("artefact_store: x", "artefact_store: no such setting (did you mean 'artifact_store'?)"),
        ("plugins: {disabel: [x]}", "unknown field disabel (did you mean 'disable'?)"),
        ("backends: {p: {kind: training, type: x, arg: {}}}", "(did you mean 'args'?)"),
        ("backends: {p: {kind: trainer, type: x}}", "backends[...].kind"),
        ("backends: {p: {kind: training}}", "missing required field type"),
        ("plugins: {disable: acme}", "plugins.disable: Expected array, got str"),
        ("version: 2\nnew_setting: 1", "reads version 1, the file has 2 (pip install --upgrade"),
        ("version: one", "version: Expected int, got str"),
        ("- a\n- b", "Expected object, got array"),
        ("text", "Expected object, got str"),
        ("5", "Expected object, got int"),
        ("a: [", "is not valid YAML"),
        ("a: 1\na: 2", "line 2, column 1: the key 'a' stands here twice"),
        (b"a: \xff", "cannot be read"),
    ],
)
def test_a_mistake_in_the_configuration_is_named_with_its_place(
    project: Path, config: Path, text: str | bytes, told: str
) -> None:
    config.write_bytes(text.encode() if isinstance(text, str) else text)

    for ask in (lambda r: r.config, lambda r: r.get_backends(), lambda r: r.artifact_store):
        with pytest.raises(ConfigurationError) as raised:
            ask(Repository(project))
        assert str(config) in str(raised.value)
        assert told in str(raised.value)


def test_a_configuration_that_is_a_folder_is_a_configuration_error(
    project: Path, config: Path
) -> None:
    config.mkdir()

    with pytest.raises(ConfigurationError, match="cannot be read"):
        Repository(project).get_backends()


def test_a_zenml_folder_that_is_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / ".zenml").write_text("", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        Repository(tmp_path).get_backends()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a folder nobody can write to")
def test_a_folder_that_cannot_be_written_is_a_configuration_error_with_a_remedy(acme: Any) -> None:
    repository = Repository("/proc/self/fdinfo")
    repository.root = Path("/proc/self/fdinfo")

    with pytest.raises(ConfigurationError, match="cannot be written") as raised:
        repository.connect_backend("prod", acme())

    assert "a folder that you may write to" in str(raised.value)


# -- connected backends ------------------------------------------------------------------------


def test_what_was_connected_is_had_again_from_anywhere_in_the_repository(
    project: Path, acme: Any
) -> None:
    made = acme(region="there", options={"a": [1, None, 2.5]}, folder=Path("x"))

    row = Repository(project).connect_backend("prod", made)

    (project / "deep").mkdir()
    assert Repository(project / "deep").get_backend("prod") == made
    assert (row.kind, row.name, row.type, row.status) == (
        "orchestrator",
        "prod",
        "acme",
        "connected",
    )
    assert (row.distribution, row.version, row.summary) == ("acme", "1.0", "Of acme.")
    assert row.usable
    assert row.load() is acme


def test_a_connected_backend_is_listed_beside_the_installed_one(project: Path, acme: Any) -> None:
    repository = Repository(project)
    repository.connect_backend("prod", acme())

    listed = {
        (row.name, row.status) for row in repository.get_backends() if row.distribution == "acme"
    }

    assert listed == {("acme", "available"), ("prod", "connected")}
    assert {row.name for row in repository.get_backends("training")}.isdisjoint({"acme", "prod"})


def test_connecting_again_replaces_and_disconnecting_forgets(project: Path, acme: Any) -> None:
    repository = Repository(project)
    repository.connect_backend("other", acme())
    repository.connect_backend("prod", acme(size=1))
    repository.connect_backend("prod", acme(size=2))
    assert repository.get_backend("prod") == acme(size=2)

    repository.disconnect_backend("prod")

    assert list(repository.config.backends) == ["other"]
    for ask in (repository.get_backend, repository.disconnect_backend):
        with pytest.raises(BackendNotFoundError, match="no connected backend 'prod'"):
            ask("prod")


def test_a_misspelt_connection_gets_the_nearest_name(project: Path, acme: Any) -> None:
    repository = Repository(project)
    repository.connect_backend("production", acme())

    with pytest.raises(BackendNotFoundError) as raised:
        repository.get_backend("prodution")

    assert raised.value.remedy == "did you mean 'production'?"


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "-a", ".a", "a/b", "../a", "a:b", "ä", "prod\n", "local", None, 5]
)
def test_a_name_that_cannot_be_written_plainly_is_refused(
    project: Path, config: Path, acme: Any, name: Any
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be connected") as raised:
        Repository(project).connect_backend(name, acme())

    assert raised.value.problems[0].path == "name"
    assert not config.exists()


def test_only_a_backend_object_of_an_installed_plugin_can_be_connected(
    project: Path, config: Path, acme: Any
) -> None:
    from acme.backends import Unregistered

    for given, told in [
        ("acme", "expected a backend object, found 'acme'"),
        (acme, "expected a backend object, found <class"),
        (None, "expected a backend object, found None"),
        (Unregistered(), "Unregistered is not registered by any plugin"),
    ]:
        with pytest.raises(ConfigurationError) as raised:
            Repository(project).connect_backend("prod", given)
        assert told in str(raised.value)
    assert not config.exists()


def test_other_settings_survive_a_connection(project: Path, config: Path, acme: Any) -> None:
    text = "artifact_store: s\nplugins: {disable: [bolt], choose: {'training:x': acme}}\n"
    config.write_text(text, encoding="utf-8")

    Repository(project).connect_backend("prod", acme())

    written = load_yaml(config.read_text(encoding="utf-8"), "config")
    assert written.pop("backends").keys() == {"prod"}
    assert written == load_yaml(text, "before")
    assert {path.name for path in config.parent.iterdir()} <= {"config.yaml", "config.yaml.lock"}


def test_arguments_that_look_like_other_yaml_come_back_as_they_were(
    project: Path, acme: Any
) -> None:
    odd = ["no", "1e3", "0x10", "12:30", "~", "", " a\n", "#", "é😀", "'", "2001-01-01", "<<"]
    made = acme(region="on", options={word: word for word in odd})

    Repository(project).connect_backend("prod", made)

    assert Repository(project).get_backend("prod") == made


# -- secrets -----------------------------------------------------------------------------------


def test_a_secret_is_stored_as_a_reference_and_read_only_by_its_user(
    project: Path, config: Path, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_KEY", "hunter2")
    repository = Repository(project)

    row = repository.connect_backend("prod", acme(key="env:ACME_KEY", keys=["env:ACME_KEY"]))

    assert "hunter2" not in config.read_text(encoding="utf-8")
    assert "hunter2" not in repr(row) + repr(repository.get_backend("prod"))
    key = repository.get_backend("prod").key  # type: ignore[attr-defined]
    assert isinstance(key, SecretRef)
    assert key.resolve() == "hunter2"


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"password": "hunter2"}, "password"),
        ({"options": {"DB_PASSWORD": "hunter2"}}, "options.DB_PASSWORD"),
        ({"options": {"env": [{"api-key": "x", "apiKey": "hunter2"}]}}, "options.env[0].apiKey"),
        ({"options": {"tokens": ["hunter2"]}}, "options.tokens[0]"),
        ({"region": "mysql://root:hunter2@db/x"}, "region"),
        ({"options": {"url": ["https://:hunter2@host"]}}, "options.url[0]"),
    ],
)
def test_a_secret_that_would_be_written_down_is_refused_and_not_repeated(
    project: Path, config: Path, acme: Any, parameters: dict[str, Any], place: str
) -> None:
    with pytest.raises(ConfigurationError, match="looks like a secret") as raised:
        Repository(project).connect_backend("prod", acme(**parameters))

    assert place in {problem.path for problem in raised.value.problems}
    assert "SecretRef" in str(raised.value)
    assert "hunter2" not in str(raised.value) + repr(raised.value)
    assert not config.exists()


@pytest.mark.parametrize(
    "parameters",
    [
        {"tokenizer": "bert"},
        {"token_path": "/run/token"},
        {"password": ""},
        {"password": "env:PASSWORD"},
        {"options": {"secret_name": "db", "credentials_file": "x", "max_tokens": 5}},
        {"options": {"secret": {"secretName": "db"}, "tokenPath": "/run/token"}},
        {"region": "https://user@host:80/a:b@c"},
    ],
)
def test_what_only_sounds_like_a_secret_can_be_connected(
    project: Path, acme: Any, parameters: dict[str, Any]
) -> None:
    Repository(project).connect_backend("prod", acme(**parameters))

    assert Repository(project).get_backend("prod") == acme(**parameters)


# -- what became of it -------------------------------------------------------------------------


@pytest.fixture
def connected(project: Path, acme: Any) -> Repository:
    repository = Repository(project)
    repository.connect_backend("prod", acme(size=3))
    return repository


def status_of(root: Path) -> Any:
    [row] = [row for row in Repository(root).get_backends() if row.name == "prod"]
    return row


def change(file: Path, source: str) -> None:
    """Install another version of a module of acme's."""
    file.write_text(textwrap.dedent(source), encoding="utf-8")
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]
    reset_registry()


def test_a_backend_whose_plugin_was_removed_is_a_row_and_an_error_with_what_to_install(
    connected: Repository, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(site)])
    reset_registry()

    row = status_of(connected.root)

    assert (row.kind, row.type, row.status) == ("orchestrator", "acme", "missing-dependency")
    assert (row.distribution, row.remedy) == ("acme", "pip install acme")
    assert "no installed plugin offers" in row.cause
    assert not row.usable
    with pytest.raises(BackendNotFoundError, match="pip install acme"):
        Repository(connected.root).get_backend("prod")
    Repository(connected.root).disconnect_backend("prod")


@pytest.mark.parametrize(
    ("variable", "value", "status", "remedy"),
    [
        ("ZENML_DISABLE_PLUGINS", "acme", "disabled", "take acme off that list"),
        ("ZENML_ALLOW_PLUGINS", "bolt", "disabled", "add acme to it"),
    ],
)
def test_a_backend_whose_plugin_is_disabled_is_disabled(
    connected: Repository,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    status: str,
    remedy: str,
) -> None:
    monkeypatch.setenv(variable, value)

    row = status_of(connected.root)

    assert row.status == status
    assert remedy in row.remedy
    with pytest.raises(BackendNotFoundError, match=remedy):
        Repository(connected.root).get_backend("prod")


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("raise OSError('no disk')", "broken", "OSError: no disk"),
        ("import no_such_sdk", "missing-dependency", "no_such_sdk"),
        (PLUGIN.replace("summary=", "api=7, summary="), "incompatible", "plugin API 7"),
        (
            PLUGIN.replace("summary=", "requires=('no_such',), summary="),
            "missing-dependency",
            "no_",
        ),
        (PLUGIN.replace('"acme"', '"renamed"'), "missing-dependency", "renamed"),
    ],
)
def test_a_backend_whose_plugin_went_wrong_has_the_status_of_that(
    connected: Repository, site: Path, source: str, status: str, told: str
) -> None:
    change(site / "acme" / "plugin.py", source)

    row = status_of(connected.root)

    assert row.status == status
    assert told in f"{row.cause} {row.remedy}"
    assert row.remedy
    with pytest.raises((BackendNotFoundError, BackendUnavailableError)):
        Repository(connected.root).get_backend("prod")


def test_parameters_that_the_plugin_no_longer_has_are_a_configuration_error(
    connected: Repository, site: Path
) -> None:
    source = (site / "acme" / "backends.py").read_text(encoding="utf-8")
    change(site / "acme" / "backends.py", source.replace("size:", "width:"))

    assert status_of(connected.root).status == "connected", "listing imports no class"
    with pytest.raises(ConfigurationError, match="size: no such parameter"):
        Repository(connected.root).get_backend("prod")


# -- at the same time --------------------------------------------------------------------------


def test_of_connections_made_at_the_same_time_none_is_lost(
    project: Path,
    site: Path,
) -> None:
    program = (
        "import sys; from acme.backends import AcmeBackend; from zenml.repo import Repository\n"
        "repository = Repository(); repository.registry; print('ready', flush=True); input()\n"
        "for number in range(10):\n"
        "    repository.connect_backend(f'{sys.argv[1]}-{number}', AcmeBackend())\n"
    )
    names = [f"w{number}" for number in range(4)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, name],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(site)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    assert [worker.stdout.readline() for worker in workers if worker.stdout] == ["ready\n"] * 4

    for worker in workers:
        assert worker.stdin
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)

    assert [worker.returncode for worker in workers] == [0] * 4
    expected = {f"{name}-{number}" for name in names for number in range(10)}
    assert set(Repository(project).config.backends) == expected
