"""``zenml backend describe``, ``connect``, ``check``, ``permissions`` and ``disconnect``."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from zenml.core.testing import fake_distribution

if TYPE_CHECKING:
    from tests.plugins.conftest import Installation


@pytest.fixture
def acme(installation: Installation) -> Installation:
    installation.backend("acme")
    return installation


def config(installation: Installation) -> str:
    path = installation.project / ".zenml" / "config.yaml"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a command that failed as commands should."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


# -- describe ----------------------------------------------------------------------------------


def test_describe_shows_origin_purpose_and_parameters(acme: Installation) -> None:
    done = acme.zenml("backend", "describe", "acme")

    assert (done.returncode, done.stderr) == (0, "")
    for text in (
        "orchestrator acme (available)",
        "acme 1.0",
        "acme_backend:ItsBackend",
        "How many.",
    ):
        assert text in done.stdout
    for parameter in ("size", "key", "password", "labels"):
        assert f"\n{parameter} " in done.stdout


def test_describe_as_json_is_the_row_and_the_parameters(acme: Installation) -> None:
    described = acme.json("backend", "describe", "acme")

    assert described["backend"] == acme.rows()["acme"]
    assert described["parameters"][0] == {
        "name": "size",
        "type": "int",
        "required": False,
        "default": "1",
    }


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("import sys; sys.exit(0)", "it called sys.exit(0)"),
        ("ItsBackend = 5", "is a int, not a class of orchestrator backends"),
        ("", "has no attribute 'ItsBackend'"),
    ],
)
def test_a_class_that_cannot_be_loaded_is_an_error_with_a_remedy(
    installation: Installation, source: str, told: str
) -> None:
    installation.backend("acme", source)

    for command in (("describe", "acme"), ("check", "acme"), ("connect", "prod", "acme")):
        error = refused(installation.zenml("backend", *command))
        assert told in error
        assert "what to do: " in error


def test_what_is_no_backend_gets_the_nearest_or_what_to_install(acme: Installation) -> None:
    assert "did you mean 'acme'?" in refused(acme.zenml("backend", "describe", "acne"))
    for command in (("describe", "kubernetes"), ("connect", "prod", "kubernetes")):
        assert "pip install zenml-k8s" in refused(acme.zenml("backend", *command))


def test_a_name_of_several_kinds_asks_for_the_kind(acme: Installation) -> None:
    source = (acme.site / "acme.py").read_text(encoding="utf-8")
    acme.plugin("bolt", source.replace("zenml_orchestrators", "zenml_trainers"))

    error = refused(acme.zenml("backend", "describe", "acme"))

    assert "add --kind orchestrator or --kind training" in error
    assert acme.zenml("backend", "describe", "acme", "--kind", "orchestrator").returncode == 0


def test_a_name_of_two_plugins_asks_for_the_distribution(installation: Installation) -> None:
    installation.backend("acme", type="twin")
    installation.backend("bolt", type="twin")

    for command in (("describe", "twin"), ("check", "twin"), ("connect", "prod", "twin")):
        assert "'acme:twin' or 'bolt:twin'" in refused(installation.zenml("backend", *command))
    done = installation.zenml("backend", "connect", "prod", "bolt:twin")
    assert (done.returncode, done.stderr) == (0, "")
    assert installation.rows()["prod"]["target"] == "bolt_backend:ItsBackend"


# -- connect, check, disconnect ----------------------------------------------------------------


def test_the_whole_life_of_a_connection(acme: Installation) -> None:
    connected = acme.zenml("backend", "connect", "prod", "acme", "size=3", "labels={a: no}")
    assert (connected.returncode, connected.stderr) == (0, "")
    assert "labels={'a': 'no'}" in connected.stdout

    row = acme.rows()["prod"]
    assert (row["kind"], row["status"], row["distribution"]) == (
        "orchestrator",
        "connected",
        "acme",
    )
    assert acme.zenml("backend", "describe", "prod").returncode == 0
    assert acme.zenml("backend", "describe", "acme:acme").returncode == 0
    checked = acme.zenml("backend", "check", "prod")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "ok      size: 3" in checked.stdout

    assert acme.zenml("backend", "disconnect", "prod").returncode == 0
    assert "prod" not in acme.rows()
    assert "no connected backend 'prod'" in refused(acme.zenml("backend", "disconnect", "prod"))


def test_a_failed_check_says_what_to_do_and_fails(acme: Installation) -> None:
    acme.zenml("backend", "connect", "huge", "acme", "size=11")

    done = acme.zenml("backend", "check", "huge")

    assert done.returncode == 1
    assert "FAILED  size: 11\n        what to do: make it smaller" in done.stdout


def test_parameters_given_to_a_check_go_before_those_of_the_connection(acme: Installation) -> None:
    acme.zenml("backend", "connect", "prod", "acme", "size=11")

    assert "ok      size: 3" in acme.zenml("backend", "check", "prod", "size=3").stdout
    assert "ok      size: 4" in acme.zenml("backend", "check", "acme", "size=4").stdout
    assert "size: expected int" in refused(acme.zenml("backend", "check", "prod", "size=big"))
    assert acme.zenml("backend", "check", "prod").returncode == 1


@pytest.mark.parametrize(
    "body", ["1 / 0", "raise OSError('no route')", "return None", "return [5]"]
)
def test_a_check_that_fails_by_itself_is_a_failed_check(
    installation: Installation, body: str
) -> None:
    installation.backend(
        "acme",
        "from zenml.core import OrchestratorBackend\n"
        "class ItsBackend(OrchestratorBackend):\n"
        f"    def check(self):\n        {body}\n"
        "    def run(self, work): ...\n",
    )

    done = installation.zenml("backend", "check", "acme")

    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "report it to the authors of acme" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        (["size=big"], "size: expected int, got str"),
        (["size=1.5"], "size: expected int, got float"),
        (["sise=1"], "sise: no such parameter (did you mean 'size'?)"),
        (["size"], "size: expected PARAMETER=VALUE"),
        (["=1"], "=1: expected PARAMETER=VALUE"),
        (["size=1", "size=2"], "size: is given twice"),
        (["labels={a: 1}"], "labels: expected str, got int"),
        (["labels={a"], "labels is not valid YAML"),
        (["size=big", "sise=1"], "2 problems"),
    ],
)
def test_wrong_parameters_are_named_and_nothing_is_connected(
    acme: Installation, parameters: list[str], told: str
) -> None:
    error = refused(acme.zenml("backend", "connect", "prod", "acme", *parameters))

    assert told in error
    assert config(acme) == ""


@pytest.mark.parametrize(
    "parameter", ["key=hunter2", "password=hunter2", "labels={token: hunter2}"]
)
def test_a_secret_on_the_command_line_is_neither_stored_nor_shown(
    acme: Installation, parameter: str
) -> None:
    error = refused(acme.zenml("backend", "connect", "prod", "acme", parameter))

    assert "env:NAME" in error
    assert "hunter2" not in error + config(acme)


def test_a_secret_goes_by_reference_through_everything(acme: Installation) -> None:
    commands = [
        ("connect", "prod", "acme", "key=env:ACME_KEY"),
        ("describe", "prod"),
        ("describe", "prod", "--json"),
        ("list",),
        ("list", "--json"),
        ("check", "prod"),
    ]

    printed = [acme.zenml("backend", *command, ACME_KEY="hunter2") for command in commands]

    assert {done.returncode for done in printed} == {0}
    assert "env:ACME_KEY" in printed[0].stdout
    assert "env:ACME_KEY" in config(acme)
    assert "hunter2" not in config(acme) + "".join(done.stdout + done.stderr for done in printed)


def test_a_connection_may_have_the_name_of_a_type_and_then_is_what_the_name_means(
    acme: Installation,
) -> None:
    acme.zenml("backend", "connect", "acme", "acme", "size=11")

    assert "FAILED  size: 11" in acme.zenml("backend", "check", "acme").stdout
    assert "ok      size: 1" in acme.zenml("backend", "check", "acme:acme").stdout


def test_a_connection_outlives_its_plugin_as_a_row_that_says_what_to_install(
    acme: Installation,
) -> None:
    acme.zenml("backend", "connect", "prod", "acme")

    row = acme.rows(PYTHONPATH="")["prod"]

    assert (row["status"], row["remedy"]) == ("missing-dependency", "pip install acme")
    gone = acme.zenml("backend", "check", "prod", PYTHONPATH="")
    assert "pip install acme" in refused(gone)


def test_connections_made_by_commands_at_the_same_time_are_all_kept(acme: Installation) -> None:
    import concurrent.futures

    names = [f"prod-{number}" for number in range(8)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        codes = set(
            pool.map(lambda n: acme.zenml("backend", "connect", n, "acme").returncode, names)
        )

    assert codes == {0}
    assert set(names) <= acme.rows().keys()


def test_a_zenml_folder_that_is_a_file_is_an_error_with_a_remedy(acme: Installation) -> None:
    (acme.project / ".zenml").rmdir()
    (acme.project / ".zenml").write_text("", encoding="utf-8")

    error = refused(acme.zenml("backend", "connect", "prod", "acme"))

    assert "config.yaml cannot be read" in error


def test_two_distributions_with_one_module_are_both_listed(acme: Installation) -> None:
    fake_distribution(acme.site, "acme-fork", entry_points={"acme": "acme"})

    statuses = {
        row["distribution"]: row["status"]
        for row in acme.json("plugin", "list")
        if row["distribution"].startswith("acme")
    }

    assert statuses == {"acme": "available", "acme-fork": "broken"}


# -- permissions -------------------------------------------------------------------------------

CAREFUL = """
import yaml
from zenml.core import OrchestratorBackend

print("a backend says something")

class ItsBackend(OrchestratorBackend):
    namespace: str = "default"
    verbs: list[str] = ["create", "get"]

    def run(self, work): ...

    def permissions(self):
        print("and something more")
        if self.namespace == "none":
            raise OSError("no such namespace")
        role = {"kind": "Role", "metadata": {"name": "zenml", "namespace": self.namespace}}
        rules = [{"resources": ["jobs"], "verbs": self.verbs}]
        return yaml.dump_all([{**role, "rules": rules}, {"kind": "RoleBinding"}])
"""


@pytest.fixture
def careful(installation: Installation) -> Installation:
    installation.backend("careful", CAREFUL)
    return installation


def test_permissions_are_printed_as_the_service_reads_them(careful: Installation) -> None:
    done = careful.zenml("backend", "permissions", "careful", "namespace=ml")

    assert done.returncode == 0, done.stderr
    role, binding = yaml.safe_load_all(done.stdout)
    assert role["metadata"]["namespace"] == "ml"
    assert role["rules"] == [{"resources": ["jobs"], "verbs": ["create", "get"]}]
    assert binding == {"kind": "RoleBinding"}


def test_permissions_of_a_connected_backend_are_those_of_its_parameters(
    careful: Installation,
) -> None:
    connected = careful.zenml("backend", "connect", "prod", "careful", "namespace=ml")
    assert connected.returncode == 0, connected.stderr

    asked = careful.zenml("backend", "permissions", "prod", "verbs=[watch]")

    role, _ = yaml.safe_load_all(asked.stdout)
    assert role["metadata"]["namespace"] == "ml"
    assert role["rules"][0]["verbs"] == ["watch"]


def test_a_backend_that_needs_none_says_so_and_prints_nothing(acme: Installation) -> None:
    done = acme.zenml("backend", "permissions", "acme")

    assert (done.returncode, done.stdout) == (0, "")
    assert "orchestrator backend 'acme' needs no permissions" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["careful", "namespace=none"], "cannot say what it needs: OSError: no such namespace"),
        (["careful", "namespaces=ml"], "namespaces: no such parameter"),
        (["careful", "ml"], "ml: expected PARAMETER=VALUE"),
        (["carefull"], "there is no backend 'carefull'"),
    ],
)
def test_permissions_that_cannot_be_told_are_an_error(
    careful: Installation, arguments: list[str], told: str
) -> None:
    done = careful.zenml("backend", "permissions", *arguments)

    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
