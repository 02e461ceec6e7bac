"""What no file of the project may be, or say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

MACHINE_PATH = re.compile(r"(?<![\w.])/(?:farm|home|root|Users|work)/")
INDEX = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.org|crates\.io|proxy\.golang\.org|deb\.debian\.org"
    r"|(?:extra-)?index-url|index_url\s*=|\"resolved\":",
    re.IGNORECASE,
)


def _lines_with(pattern: re.Pattern[str], files: list[Path], root: Path) -> list[str]:
    found = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not text
        found += [
            f"{file.relative_to(root)}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    return found


def test_zenml_is_nowhere_a_regular_package(tracked: list[Path], root: Path) -> None:
    # One `zenml/__init__.py` would hide the parts of `zenml` that other distributions provide.
    regular = [file for file in tracked if file.parent.name == "zenml" and file.stem == "__init__"]

    assert [str(file.relative_to(root)) for file in regular] == []


def test_no_file_names_the_path_of_a_machine(tracked: list[Path], root: Path) -> None:
    assert _lines_with(MACHINE_PATH, tracked, root) == []


def test_no_file_names_where_packages_come_from(tracked: list[Path], root: Path) -> None:
    this = Path(__file__).resolve()

    assert _lines_with(INDEX, [file for file in tracked if file != this], root) == []


@pytest.mark.parametrize(
    "path", ["home/ada/checkout", "root/.cache", "Users/ada/checkout", "work/main"]
)
def test_the_path_of_a_machine_is_recognised(path: str) -> None:
    assert MACHINE_PATH.search(f'source = "/{path}"')


@pytest.mark.parametrize(
    "line", ["src/home/index.py", "gs://bucket/work/data", "file://host/root/x"]
)
def test_a_path_inside_something_else_is_not_a_machine_path(line: str) -> None:
    assert not MACHINE_PATH.search(line)
