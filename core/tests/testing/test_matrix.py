"""``zenml plugin conformance``: what is published of everything that is installed, as a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zenml.core.testing import Project, fake_distribution

PLUGIN = """
from zenml.core.plugins import BackendSpec, StoreSpec, hookimpl

@hookimpl
def zenml_processors():
    yield BackendSpec(type="fast", target="acme_zenml.backend:Fast", summary="Fast.", api=1)

@hookimpl
def zenml_artifact_stores():
    yield StoreSpec(scheme="acme", target="acme_zenml.backend:Store", summary="Far.", api=1)
"""


def suite(name="TestFast", *, kind="processing", type="fast", version="1.0", **cases):  # noqa: A002
    """A suite's results; cases are given as ``passes="passed"`` or ``fails=("failed", "why")``."""
    rows = []
    for case, ended in cases.items():
        result, reason = ended if isinstance(ended, tuple) else (ended, "")
        rows.append(
            {"name": f"test_{case}", "tier": "required", "result": result, "reason": reason}
        )
    return {
        "suite": name,
        "kit": "Conformance",
        "kind": kind,
        "type": type,
        "distribution": "acme-zenml",
        "version": version,
        "cases": rows,
    }


class Installation:
    """A distribution that offers a backend and a store; no other is looked at."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder / "project")
        self.site = folder / "site"
        modules = {
            "acme_zenml": "",
            "acme_zenml.plugin": PLUGIN,
            "acme_zenml.backend": "raise AssertionError('imported by a listing')",
        }
        entry_points = {"acme": "acme_zenml.plugin"}
        fake_distribution(self.site, "acme-zenml", entry_points=entry_points, modules=modules)
        self.published = self.site / "acme_zenml" / "conformance.json"

    @staticmethod
    def write(file: Path, *suites, **changes) -> Path:
        content = {"api": 1, "core": "0.1.0", "suites": suites, **changes}
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    def ask(self, *arguments: object):
        variables = {"PYTHONPATH": str(self.site), "ZENML_ALLOW_PLUGINS": "acme-zenml,acme-flat"}
        command = ("-m", "_zenml_main", "plugin", "conformance", *map(str, arguments))
        return self.project.run(*command, variables={"PYTHONUTF8": "1", **variables})


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_published_results_are_a_table(installation):
    both = ("it does not declare 'gpu'", "no network")
    installation.write(
        installation.published,
        suite(
            a_case_in_words="passed",
            it_broke=("failed", "no good"),
            it_has_a_gpu=("lacking", both[0]),
            it_is_far=("skipped", both[1]),
            it_is_farther=("skipped", both[1]),
        ),
    )

    done = installation.ask()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "### Processing\n"
        "\n"
        "| case            | fast (acme-zenml 1.0) |\n"
        "| --------------- | --------------------- |\n"
        "| a case in words | ✓                     |\n"
        "| it broke        | ✗ (1)                 |\n"
        "| it has a gpu    | · (2)                 |\n"
        "| it is far       | – (3)                 |\n"  # noqa: RUF001 - a dash
        "| it is farther   | – (3)                 |\n"  # noqa: RUF001 - a dash
        "\n"
        "1. no good\n"
        "2. it does not declare 'gpu'\n"
        "3. no network\n"
        "\n"
        "✓ passes; ✗ fails; – could not be tried; "  # noqa: RUF001 - a dash
        "· fails, as it has to without a capability; empty: not a case of that suite.\n"
        "\n"
        "Installed without published results: artifact store acme (acme-zenml 1.0).\n"
    )


def test_each_kind_has_a_table(installation):
    installation.write(
        installation.published,
        suite("TestStore", kind="artifact store", type="acme", it_stores="passed"),
        suite(it_maps="passed"),
    )

    told = installation.ask().stdout

    assert told.index("### Processing") < told.index("it maps") < told.index("### Artifact stores")
    assert "without published results" not in told


def test_suites_of_one_type_are_named(installation):
    installation.write(
        installation.published,
        suite("TestThreads", it_maps="passed"),
        suite("TestProcesses", it_maps="passed", it_survives="passed"),
    )

    header, _, first, second = installation.ask().stdout.splitlines()[2:6]

    titles = [cell.strip() for cell in header.split("|")[2:4]]
    assert titles == ["fast (acme-zenml 1.0), TestProcesses", "fast (acme-zenml 1.0), TestThreads"]
    assert [cell.strip() for cell in first.split("|")[1:4]] == ["it maps", "✓", "✓"]
    assert [cell.strip() for cell in second.split("|")[1:4]] == ["it survives", "✓", ""]


def test_what_has_no_published_results_is_listed(installation):
    done = installation.ask()

    assert done.returncode == 0
    assert done.stdout == (
        "No conformance results are published or given.\n"
        "\n"
        "Installed without published results: processing fast (acme-zenml 1.0), "
        "artifact store acme (acme-zenml 1.0).\n"
    )


def test_a_given_file_stands_in_for_what_its_distribution_has_published(installation, tmp_path):
    installation.write(installation.published, suite("TestOld", old="passed"))
    given = installation.write(tmp_path / "new.json", suite("TestNew", version="2.0", new="passed"))

    told = installation.ask(given).stdout

    assert "fast (acme-zenml 2.0)" in told
    assert "| old" not in told


def test_results_of_what_is_not_installed_can_be_given(installation, tmp_path):
    installation.write(installation.published, suite(mine="passed"))
    other = suite("TestOther", kind="processing", type="far", theirs="passed")
    given = installation.write(tmp_path / "far.json", other | {"distribution": "far-zenml"})

    told = installation.ask(given).stdout

    assert "far (far-zenml 1.0)" in told
    assert "fast (acme-zenml 1.0)" in told


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"distribution": "other-zenml"}, "it is about other-zenml; installed is acme-zenml 1.0"),
        ({"version": "0.9"}, "it is about version 0.9; installed is acme-zenml 1.0"),
        ({"type": "slow"}, "it is about processing 'slow', which the plugin does not offer"),
        ({"kind": "gardening"}, "it is about gardening 'fast', which the plugin does not offer"),
    ],
)
def test_published_results_of_something_else_are_not_believed(installation, changes, said):
    installation.write(installation.published, suite(it_maps="passed") | changes)

    done = installation.ask()

    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{installation.published}: ")
    assert said in line
    assert "it maps" not in done.stdout
    assert "processing fast (acme-zenml 1.0)" in done.stdout


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[[", b'{"api": 2}'])
def test_a_published_file_that_cannot_be_read_is_one_line(installation, content):
    installation.published.write_bytes(content)

    done = installation.ask()

    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{installation.published}: ")
    assert "processing fast (acme-zenml 1.0)" in done.stdout


def test_a_given_file_that_cannot_be_read_is_a_failure_and_hides_no_other(installation, tmp_path):
    installation.write(installation.published, suite(it_maps="passed"))
    (tmp_path / "broken.json").write_text("{")

    done = installation.ask(tmp_path / "broken.json", tmp_path / "nothing.json")

    assert done.returncode == 1
    broken, nothing = done.stderr.splitlines()
    assert broken.startswith(f"{tmp_path / 'broken.json'}: it holds no conformance results")
    assert nothing.startswith(f"{tmp_path / 'nothing.json'}: it cannot be read: No such file")
    assert "it maps" in done.stdout


def test_text_of_others_keeps_to_its_cell(installation):
    reason = "a | b\nand a second line"
    installation.write(
        installation.published,
        suite("Te|st1", **{"a|b\nc": ("failed", reason), "d": ("failed", "")}),
        suite("Te|st2", d="passed"),
    )

    lines = installation.ask().stdout.splitlines()

    assert lines[4].startswith("| a\\|b c | ✗ (1)")
    assert "1. a | b and a second line" in lines
    assert "2. no reason is recorded" in lines


def test_json_holds_the_same(installation):
    installation.write(installation.published, suite(it_maps="passed"))

    told = json.loads(installation.ask("--json").stdout)

    [found] = told["suites"]
    assert (found["suite"], found["cases"][0]["result"]) == ("TestFast", "passed")
    assert told["unpublished"] == [
        {
            "kind": "artifact store",
            "type": "acme",
            "distribution": "acme-zenml",
            "version": "1.0",
        }
    ]


def test_a_module_outside_every_package_publishes_nothing(installation):
    # Its folder is that of all distributions, and a file there could be anybody's.
    fake_distribution(
        installation.site, "acme-flat", entry_points={"x": "acme_flat"}, modules={"acme_flat": ""}
    )
    installation.write(installation.site / "conformance.json", suite(it_maps="passed"))

    done = installation.ask()

    assert (done.returncode, done.stderr) == (0, "")
    assert "it maps" not in done.stdout
