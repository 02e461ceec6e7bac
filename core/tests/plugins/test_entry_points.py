"""Installed plugins are found by their metadata, whatever state that metadata is in."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from zenml.core.plugins._entry_points import EntryPoint, normalise, plugin_entry_points
from zenml.core.testing import fake_distribution


def found() -> list[EntryPoint]:
    return [one for one in plugin_entry_points() if not one.distribution.startswith("zenml-")]


def test_entry_points_of_the_group_are_listed_in_order_without_importing(site: Path) -> None:
    fake_distribution(site, "b-plugin", entry_points={"z": "b_plugin", "a": "b_plugin.more"})
    fake_distribution(site, "A.plugin", version="2.0rc1", entry_points={"x": "no_such_module"})

    assert found() == [
        EntryPoint("x", "no_such_module", "A.plugin", "2.0rc1"),
        EntryPoint("a", "b_plugin.more", "b-plugin", "1.0"),
        EntryPoint("z", "b_plugin", "b-plugin", "1.0"),
    ]
    assert "b_plugin" not in sys.modules


def test_other_groups_comments_and_extras_are_left_out(site: Path) -> None:
    info = fake_distribution(site, "acme")
    text = """
        [console_scripts]
        tool = acme.cli:main
        [zenml.plugins.more]
        no = acme.no
        [zenml.plugins]
        # gone = acme.gone
        one=acme.one
        two = acme.two [extra,other]

        [other]
        also-no = acme.no
        """
    (info / "entry_points.txt").write_text(text, encoding="utf-8")

    assert [(one.name, one.module) for one in found()] == [("one", "acme.one"), ("two", "acme.two")]


def test_a_distribution_that_is_found_twice_counts_once_and_the_first_wins(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_distribution(site, "acme-zenml", version="2.0", entry_points={"new": "acme.new"})
    later = tmp_path / "later"
    fake_distribution(later, "Acme_ZenML", version="1.0", entry_points={"old": "acme.old"})
    monkeypatch.setattr(sys, "path", [*sys.path, str(later), str(site), str(site)])

    assert found() == [EntryPoint("new", "acme.new", "acme-zenml", "2.0")]


def test_missing_metadata_is_made_up_for_by_the_name_of_the_folder(site: Path) -> None:
    for name in ("acme-one", "acme-two"):
        info = fake_distribution(site, name, version="1.5", entry_points={"x": "acme"})
        (info / "METADATA").unlink()

    assert [(one.distribution, one.version) for one in found()] == [
        ("acme-one", "1.5"),
        ("acme-two", "1.5"),
    ]


def test_a_file_that_is_not_utf8_hides_no_plugin(site: Path) -> None:
    broken = fake_distribution(site, "broken", entry_points={"x": "broken"})
    (broken / "entry_points.txt").write_bytes(b"[zenml.plugins]\nx = broken\n# caf\xe9\n")
    latin = fake_distribution(site, "latin", entry_points={"x": "latin"})
    (latin / "METADATA").write_bytes(b"Name: latin\nVersion: 1.0\nAuthor: Andr\xe9\n\n")
    unrelated = fake_distribution(site, "unrelated")
    (unrelated / "entry_points.txt").write_bytes(b"\xff\xfe")
    fake_distribution(site, "sound", entry_points={"x": "sound"})

    assert [one.distribution for one in found()] == ["broken", "latin", "sound"]


def test_folders_that_only_look_like_metadata_are_passed_over(site: Path) -> None:
    (site / "gone-1.0.dist-info").mkdir()
    (site / "odd.dist-info").mkdir()
    (site / "odd.dist-info" / "entry_points.txt").mkdir()
    (site / "file-1.0.dist-info").write_text("", encoding="utf-8")

    assert found() == []


@pytest.mark.usefixtures("site")
def test_a_zip_file_and_missing_folders_on_the_path_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "packed"
    fake_distribution(packed, "zipped", entry_points={"x": "zipped"})
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", packed)
    monkeypatch.setattr(sys, "path", [*sys.path, archive, str(tmp_path / "nowhere"), ""])

    assert [one.distribution for one in found()] == ["zipped"]


@pytest.mark.parametrize("name", ["Acme.ZenML", "acme-zenml", "acme__zenml", "ACME-_.zenml"])
def test_names_are_compared_as_package_indexes_compare_them(name: str) -> None:
    assert normalise(name) == "acme-zenml"
