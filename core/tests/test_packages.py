"""What a service gets that takes packages in place of an image."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from zenml.core.errors import ConfigurationError
from zenml.core.image import write_packages

#: URL of a store that no plugin offers, so that nothing is needed for it.
NOWHERE = "nowhere://bucket"

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs distributions without modules; from a wheel, unless an index had them."""
    site, wheels = tmp_path / "site", tmp_path / "wheels"
    site.mkdir()
    wheels.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def make(name: str, version: str, needs: Iterable[str] = (), *, index: bool = False) -> None:
        lines = [f"Requires-Dist: {needed}" for needed in needs]
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
        (info / "METADATA").write_text(text + "\n")
        if not index:
            wheel = wheels / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr(f"{info.name}/METADATA", text)
            (info / "direct_url.json").write_text(f'{{"url": "{wheel.as_uri()}"}}')

    return make


def test_what_an_index_has_is_a_requirement_and_the_rest_are_wheels(
    install: Install, tmp_path: Path
) -> None:
    install("acme-one", "1.0", ["acme-public"])
    install("acme-public", "2.5", index=True)
    folder = tmp_path / "made"
    folder.mkdir()
    requires = {"acme_one": "1.0", "acme-public": "2.5", "not-here": "3"}
    found = write_packages(folder, requires, NOWHERE)
    assert [wheel.name for wheel in found.wheels] == ["acme_one-1.0-py3-none-any.whl"]
    assert found.requirements == ("acme-public==2.5", "not-here==3")
    [wheel] = folder.iterdir()
    assert wheel == found.wheels[0]


def test_a_wheel_comes_behind_those_that_it_needs(install: Install, tmp_path: Path) -> None:
    install("acme-a", "1", ["acme-z>=1", "acme-m; python_version>'3'"])
    install("acme-m", "1", ["acme-z"])
    install("acme-z", "1")
    folder = tmp_path / "made"
    folder.mkdir()
    found = write_packages(folder, {"acme-a": "1"}, NOWHERE)
    assert [wheel.name.split("-")[0] for wheel in found.wheels] == ["acme_z", "acme_m", "acme_a"]


def test_the_stores_plugin_is_needed(install: Install, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    install("acme-one", "1")
    found = write_packages(folder, {"acme-one": "1"}, "file:///store")
    named = [wheel.name.split("-")[0] for wheel in found.wheels]
    pinned = [requirement.split("==")[0] for requirement in found.requirements]
    assert "zenml-core" in pinned or "zenml_core" in named


def test_the_same_again_is_the_same_bytes(install: Install, tmp_path: Path) -> None:
    install("acme-one", "1")
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        [wheel] = write_packages(tmp_path / name, {"acme-one": "1"}, NOWHERE).wheels
        made.append(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert made[0] == made[1]


def test_all_that_cannot_be_had_is_named(install: Install, tmp_path: Path) -> None:
    for name in ("acme-one", "acme-two"):
        install(name, "1")
    for wheel in (tmp_path / "wheels").iterdir():
        wheel.unlink()
    folder = tmp_path / "made"
    folder.mkdir()
    with pytest.raises(ConfigurationError) as caught:
        write_packages(folder, {"acme-one": "1", "acme-two": "1"}, NOWHERE)
    assert "acme-one" in str(caught.value)
    assert "acme-two" in str(caught.value)
