"""What is kept between sessions: made once, whole, and anew when what it is made of has changed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness._cache import cached, digest_of

HERE = Path(__file__).parent

MAKE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from harness._cache import cached

def make(folder):
    with open(sys.argv[2], "a") as file:
        file.write("made\\n")
    (folder / "half").touch()
    print("making", flush=True)
    time.sleep(float(sys.argv[3]))
    (folder / "whole").touch()

print(cached("thing", "key", make), flush=True)
"""

Maker = Callable[[float], "subprocess.Popen[str]"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def maker(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Starts a process that wants the thing, and makes it in so many seconds if it has to."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", MAKE, str(HERE), str(log), str(seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return start


def test_two_processes_that_want_a_thing_make_it_once(maker: Maker, log: Path) -> None:
    with maker(1) as one, maker(1) as other:
        found = {process.communicate(timeout=60)[0].splitlines()[-1] for process in (one, other)}

    assert log.read_text() == "made\n"
    assert [(Path(folder) / "whole").exists() for folder in found] == [True]


def test_what_a_killed_process_was_making_is_made_by_the_next(maker: Maker, log: Path) -> None:
    with maker(600) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "making\n"
        killed.send_signal(signal.SIGKILL)

    with maker(0) as process:
        made = Path(process.communicate(timeout=60)[0].splitlines()[-1])

    assert log.read_text() == "made\nmade\n"
    assert (made / "whole").exists()


def test_a_thing_is_known_by_the_content_and_the_names_of_what_it_is_made_of(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"
    (source / "__pycache__").mkdir(parents=True)
    (source / "file").write_text("1")
    first = digest_of([source, "flags"])

    (source / "__pycache__" / "file.pyc").write_text("compiled")
    assert digest_of([source, "flags"]) == first
    assert digest_of([source, "other flags"]) != first
    (source / "file").write_text("2")
    assert digest_of([source, "flags"]) != first
    (source / "file").write_text("1")
    (source / "file").rename(source / "other")
    assert digest_of([source, "flags"]) != first


def test_of_each_kind_those_used_last_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    made = [cached("thing", key, lambda _: None) for key in ("a", "b", "a", "c")]

    assert [folder.exists() for folder in made] == [True, False, True, True]
