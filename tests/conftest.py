"""What tests across distributions share: the public interface as it is documented, and Ctrl-C."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

# Tests press Ctrl-C. A background process of a script ignores it, and so does all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "public-api.md"

_CODE = re.compile(r"`([\w.]+)`")


def documented() -> dict[str, set[str] | None]:
    """Module to the names that the document lists; None where it lists the module as a whole."""
    found: dict[str, set[str] | None] = {}
    module, whole = "", False
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            module, whole = "", line == "## Whole modules"
        elif line.startswith("From `"):
            module = _CODE.findall(line)[0]
        elif line.startswith("| `"):
            names = _CODE.findall(line.split("|")[1])
            if whole:
                found.update(dict.fromkeys(names))
            elif module:
                listed = found.setdefault(module, set())
                assert listed is not None, f"{module} is listed as a whole, too"
                listed |= set(names)
        elif line and not line.startswith("|"):
            module = ""
    return found


@pytest.fixture(scope="session")
def public_api() -> dict[str, set[str] | None]:
    """What `documented` says."""
    return documented()


@pytest.fixture(scope="session")
def document() -> str:
    """The text of docs/public-api.md."""
    return DOCUMENT.read_text(encoding="utf-8")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `public_module` is run for each that the document lists."""
    if "public_module" in metafunc.fixturenames:
        metafunc.parametrize("public_module", sorted(documented()))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-public-api",
        action="store_true",
        help="write down the public interface as it is now, in place of comparing it",
    )
