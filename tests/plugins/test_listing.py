"""``zenml backend list`` and ``zenml plugin list``: free, complete, and never out of order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugins.conftest import Installation

BROKEN = {
    "raises": "raise RuntimeError('no luck')",
    "exits": "import sys\nsys.exit(0)",
    "interrupts-itself": "class Mine(BaseException): pass\nraise Mine",
    "needs-more": "import no_such_sdk",
    "mistyped": "def broken(:",
    "garbage": (
        "from zenml.core.plugins import hookimpl\n"
        "@hookimpl\ndef zenml_orchestrators():\n    return [object(), 5]\n"
    ),
    "off": "raise AssertionError('imported although disabled')",
}


@pytest.fixture
def zoo(installation: Installation) -> Installation:
    """One of everything that can be wrong, and one backend that works."""
    for name, source in BROKEN.items():
        installation.plugin(name, source)
    installation.backend("works")
    installation.backend("newer", api=9)
    installation.backend("sdk-less", requires=("no_such_sdk",))
    installation.backend("twin-a", type="twin")
    installation.backend("twin-b", type="twin")
    return installation


STATUSES = {
    "raises": "broken",
    "exits": "broken",
    "interrupts-itself": "broken",
    "needs-more": "missing-dependency",
    "mistyped": "broken",
    "garbage": "broken",
    "off": "disabled",
    "works": "available",
    "newer": "incompatible",
    "sdk-less": "missing-dependency",
    "twin-a": "conflict",
    "twin-b": "conflict",
}


def test_everything_that_is_wrong_is_a_row_with_cause_and_remedy(zoo: Installation) -> None:
    done = zoo.zenml("backend", "list", "--json", ZENML_DISABLE_PLUGINS="off")

    assert (done.returncode, done.stderr) == (0, "")
    rows = [r for r in json.loads(done.stdout) if not r["distribution"].startswith("zenml-")]
    assert {row["distribution"]: row["status"] for row in rows} == STATUSES
    for row in rows:
        well = row["status"] == "available"
        assert well != bool(row["cause"])
        assert well != bool(row["remedy"])


def test_the_table_says_the_same_as_the_json(zoo: Installation) -> None:
    done = zoo.zenml("backend", "list", ZENML_DISABLE_PLUGINS="off")

    assert (done.returncode, done.stderr) == (0, "")
    for distribution, status in STATUSES.items():
        line = re.search(rf"^\S+ +\S+ +{status} +{distribution} 1\.0", done.stdout, re.MULTILINE)
        assert line, f"no row for {distribution}:\n{done.stdout}"
    troubled = len(STATUSES) - 1
    assert done.stdout.count("  cause: ") == done.stdout.count("  what to do: ") == troubled


def test_plugins_are_listed_with_what_they_offer(zoo: Installation) -> None:
    rows = {
        row["distribution"]: row for row in zoo.json("plugin", "list", ZENML_DISABLE_PLUGINS="off")
    }

    assert rows["works"]["offers"] == ["orchestrator:works"]
    assert rows["works"]["status"] == rows["newer"]["status"] == "available"
    for name in BROKEN:
        assert rows[name]["status"] == STATUSES[name]
        assert rows[name]["offers"] == []
    assert "zenml-core" in rows, "nobody is left out"
    table = zoo.zenml("plugin", "list").stdout
    assert all(name in table for name in STATUSES)


def test_every_listing_is_the_same_listing(zoo: Installation) -> None:
    printed = {zoo.zenml("backend", "list", PYTHONHASHSEED=seed).stdout for seed in "123"}

    assert len(printed) == 1


def test_what_works_can_be_used_among_all_that_does_not(zoo: Installation) -> None:
    assert zoo.zenml("backend", "describe", "works").returncode == 0
    assert zoo.zenml("backend", "check", "works").returncode == 0
    assert zoo.zenml("backend", "connect", "prod", "works", "size=2").returncode == 0
    assert zoo.rows(ZENML_DISABLE_PLUGINS="off")["prod"]["status"] == "connected"


def test_listing_imports_no_backend_and_no_heavy_library(installation: Installation) -> None:
    installation.backend("works")
    program = (
        "import sys\nfrom _zenml_main import main\n"
        "sys.argv = ['zenml', 'backend', 'list']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=installation.project,
        env={**os.environ, "PYTHONPATH": str(installation.site)},
        capture_output=True,
        text=True,
        check=True,
    )

    imported = {name.partition(".")[0] for name in done.stderr.split()}
    assert "works" in imported, "the light module is what the listing comes from"
    heavy = {
        *(
            "works_backend",
            "polars",
            "pyarrow",
            "numpy",
            "pandas",
            "sklearn",
            "tensorflow",
            "torch",
        ),
        *("kubernetes", "google", "apache_beam", "pyspark", "sqlalchemy", "requests", "httpx"),
    }
    assert imported & heavy == set()


def test_a_plugin_that_writes_to_standard_output_spoils_no_json(installation: Installation) -> None:
    noise = "import sys\nprint('{\"noise\": 1}')\nsys.stdout.write('more')\nsys.stdout.flush()\n"
    installation.backend("works")
    installation.plugin("noisy", noise + "raise OSError('and broken')")
    loud = (installation.site / "works_backend.py").read_text(encoding="utf-8")
    (installation.site / "works_backend.py").write_text(noise + loud, encoding="utf-8")

    assert installation.rows()["noisy"]["status"] == "broken"
    described = installation.json("backend", "describe", "works")
    assert [one["name"] for one in described["parameters"]] == [
        "size",
        "key",
        "password",
        "labels",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_every_encoding(installation: Installation, encoding: str) -> None:
    summary = "é 漢 😀 \x1b[31m \u2028 \"'\\"
    installation.backend("works", summary=summary)

    rows = installation.rows(PYTHONIOENCODING=f"{encoding}:strict", PYTHONUTF8="0")

    assert rows["works"]["summary"] == summary


def test_a_summary_cannot_take_a_table_apart(installation: Installation) -> None:
    installation.backend("works", summary="one\ntwo\x1b[31m\t" + "x" * 100_000)

    done = installation.zenml("backend", "list")

    [line] = [line for line in done.stdout.splitlines() if "works" in line]
    assert "one two" in line
    assert "\x1b" not in done.stdout
    assert len(line) < 300


def test_a_thousand_plugins_are_listed_and_one_failure_among_them_is_one_row(
    installation: Installation,
) -> None:
    for number in range(1000):
        info = installation.site / f"many_{number}-1.0.dist-info"
        info.mkdir()
        text = f"[zenml.plugins]\nmain = many_{number}\n"
        (info / "entry_points.txt").write_text(text, encoding="utf-8")
        (info / "METADATA").write_text(f"Name: many-{number}\nVersion: 1.0\n", encoding="utf-8")
        source = "raise OSError" if number == 500 else ""
        (installation.site / f"many_{number}.py").write_text(source, encoding="utf-8")

    listed = installation.json("plugin", "list")

    many = [row for row in listed if row["distribution"].startswith("many-")]
    assert len(many) == 1000
    assert [row["distribution"] for row in many if row["status"] != "available"] == ["many-500"]


@pytest.mark.parametrize("home", [None, "", "/no/such/folder"])
def test_listing_needs_no_home_and_no_repository(
    installation: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    home: str | None,
) -> None:
    installation.backend("works")
    installation.project = tmp_path / "bare"
    installation.project.mkdir()
    environment = {"HOME": home} if home is not None else {}
    monkeypatch.delenv("HOME")

    rows = installation.rows(**environment)

    assert rows["works"]["status"] == "available"
    assert list(installation.project.iterdir()) == [], "listing writes nothing"


def test_broken_configuration_is_told_without_a_traceback(installation: Installation) -> None:
    (installation.project / ".zenml" / "config.yaml").write_text("plugins: [", encoding="utf-8")

    for command in (("backend", "list"), ("plugin", "list"), ("doctor",)):
        done = installation.zenml(*command)
        assert done.returncode == 1
        assert "config.yaml is not valid YAML" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_a_pipe_that_is_closed_early_is_no_error(installation: Installation) -> None:
    installation.backend("works", summary="x" * 100_000)

    process = subprocess.Popen(
        [sys.executable, "-m", "_zenml_main", "backend", "list", "--json"],
        cwd=installation.project,
        env={**os.environ, "PYTHONPATH": str(installation.site)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.read(1)
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()

    assert (process.wait(timeout=60), told) == (0, "")
